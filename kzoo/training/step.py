"""The training step, and all that kzoo overrides in Keras.

Keras 3 divides the loss by each replica's own count, clips before the replicas' gradients are added, and cannot say
what a step did. ``TrainingModel`` wraps a task's ordinary model, brings its own step to Keras's ``fit``, and leaves the
model itself as it is. What it relies on beneath Keras's public surface stands in ``RELIED_ON``: a test fails when one
of these changes.
"""

import warnings
from contextlib import contextmanager
from signal import Signals

import keras
import numpy as np
import tensorflow as tf

TESTED_KERAS = ("3.15",)

RELIED_ON = {
    "keras.src.backend.tensorflow.optimizer:TFOptimizer._all_reduce_sum_gradients": "replaced: already reduced",
    "keras.src.backend.tensorflow.optimizer:TFOptimizer._backend_update_step": "calls the one above",
    "keras.src.backend.tensorflow.trainer:TensorFlowTrainer._maybe_symbolic_build": "replaced: built already",
    "keras.src.backend.tensorflow.trainer:TensorFlowTrainer._make_function": "replaced under several workers",
    "keras.src.backend.tensorflow.trainer:reduce_per_replica": "avoided under several workers",
    "keras.src.backend.tensorflow.trainer:TensorFlowTrainer.fit": "calls the functions and callbacks",
    "keras.src.backend.tensorflow.trainer:TensorFlowTrainer.evaluate": "likewise",
    "keras.src.optimizers.loss_scale_optimizer:LossScaleOptimizer._tf_apply": "applies or skips on all replicas",
}

if not keras.__version__.startswith(TESTED_KERAS):
    warnings.warn(
        f"kzoo's training step was tested with Keras {', '.join(TESTED_KERAS)}; this is {keras.__version__}. "
        "Install that version if training behaves strangely.",
        stacklevel=2,
    )

SUM = tf.distribute.ReduceOp.SUM
CALLS = 64  # draws a dropout layer may make in one step; keeps the seeds of steps apart

# B rows a replica, T length


class TrainingModel(keras.Model):
    """A task's model with kzoo's training step; create it inside the strategy's scope.

    The loss of a step is the sum over real targets (those with a weight other than 0) divided by their count over all
    replicas; it does not depend on padding, on how rows are spread over devices, or on how many devices there are.
    Gradients are added over the replicas first and clipped after. Dropout is a function of the seed and the step, and
    differs between replicas.

    Args:
        model: the model to train: features to outputs.
        loss: a Keras loss; its values are taken before reduction.
        metrics: Keras metrics, updated with the weights.
        optimizer: any Keras optimizer; None to evaluate only.
        clip_norm: longest gradient over all weights, or None.
        accumulate: parts into which each replica's rows are cut and computed one after the other; the update is that
            of all rows together, the memory that of one part.
        seed: of dropout.
        jit: compile the forward and backward pass with XLA.
    """

    def __init__(self, model, *, loss, metrics=(), optimizer=None, clip_norm=None, accumulate=1, seed=0, jit=False):
        super().__init__(name="training")
        self.inner = model
        self.built = True
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.seed = seed
        self._loss = without_reduction(loss)
        self._tracker_of_loss = keras.metrics.Mean(name="loss", dtype="float64")
        self._task_metrics = list(metrics)
        self._counted_in: list[keras.metrics.Metric] = []
        self._dropout_states = [
            variable for variable in model.non_trainable_variables if variable.name == "seed_generator_state"
        ]
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        # step, examples, tokens since the run began; first step whose loss or gradient was not a number, or -1
        self._counts = tf.Variable([0, 0, 0, -1], dtype="int64", trainable=False, aggregation=first, name="counts")
        # of the last step: loss, gradient norm before clipping, learning rate
        self._latest = tf.Variable([0.0, 0.0, 0.0], dtype="float32", trainable=False, aggregation=first, name="latest")
        # SIGINT and SIGTERM: whether this worker was asked to stop, and how many were as of the last step
        self._asked = tf.Variable([0, 0], dtype="int64", trainable=False, aggregation=first, name="asked")
        self._stops = tf.Variable([0, 0], dtype="int64", trainable=False, aggregation=first, name="stops")
        forward_and_backward = self._forward_and_backward
        self._differentiate = tf.function(forward_and_backward, jit_compile=True) if jit else forward_and_backward
        if optimizer is not None:
            self._take_over(optimizer)
        self.compile(optimizer=optimizer, jit_compile=False, auto_scale_loss=False)

    def call(self, features, training=None):
        """Maps features to the model's outputs."""
        return self.inner(features, training=training)

    @property
    def metrics(self):
        """The loss and the task's metrics; Keras resets them at each epoch."""
        return [self._tracker_of_loss, *self._task_metrics]

    @property
    def counts(self) -> dict[str, int]:
        """``step``, ``examples`` and real ``tokens`` since the run began, and ``bad_step`` (-1 when there was none)."""
        return dict(zip(("step", "examples", "tokens", "bad_step"), self._counts.numpy().tolist(), strict=True))

    @property
    def latest(self) -> dict[str, float]:
        """``loss``, ``gradient_norm`` (before clipping) and ``learning_rate`` of the last step."""
        return dict(zip(("loss", "gradient_norm", "learning_rate"), self._latest.numpy().tolist(), strict=True))

    @property
    def stops(self) -> dict[Signals, int]:
        """How many replicas had been asked to stop, and by which signal, when the last step was taken."""
        return dict(zip((Signals.SIGINT, Signals.SIGTERM), self._stops.numpy().tolist(), strict=True))

    def ask_to_stop(self, signal: Signals) -> None:
        """The next step will tell all workers that this one was asked to stop."""
        self._asked.assign([int(signal == one) for one in (Signals.SIGINT, Signals.SIGTERM)])

    @property
    def targets_seen(self) -> int:
        """Real targets since the metrics were last reset."""
        return round(float(self._tracker_of_loss.count.numpy()) / self.distribute_strategy.num_replicas_in_sync)

    @property
    def state(self) -> dict[str, list[tf.Variable]]:
        """All that a checkpoint must hold to go on exactly: weights, optimizer, metrics so far, counts."""
        return {
            "weights": [variable.value for variable in self.inner.variables],
            "optimizer": [variable.value for variable in self.optimizer.variables],
            "metrics": [variable.value for metric in self.metrics for variable in metric.variables],
            "counts": [self._counts],
        }

    @contextmanager
    def averaged(self):
        """Inside, the weights are their moving averages, where the optimizer keeps any; after, what they were."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        averages = getattr(optimizer, "_model_variables_moving_average", []) if self.counts["step"] else []
        if not averages:
            yield
            return
        kept = [np.asarray(variable) for variable in self.trainable_weights]
        for variable, average in zip(self.trainable_weights, averages, strict=True):
            variable.assign(np.asarray(average))
        try:
            yield
        finally:
            for variable, value in zip(self.trainable_weights, kept, strict=True):
                variable.assign(value)

    def count_in(self, metric: keras.metrics.Metric) -> None:
        """From now on each measurement on examples adds to the metric, too; nothing resets it. Before the first one."""
        self._counted_in.append(metric)

    def finish(self) -> None:
        """Ends the run: an optimizer that keeps moving averages of the weights puts them in place."""
        self._finalize(self.trainable_weights)

    def train_step(self, data):
        """One update from a replica's share ``(features, targets, weights)`` of a batch."""
        features, targets, weights = data
        replica = tf.distribute.get_replica_context()
        count = _count(weights)
        total, examples, tokens, stops = replica.all_reduce(SUM, [count, *_sizes(features, weights), self._asked + 0])
        self._stops.assign(stops)
        loss, gradients = self._accumulated(replica, (features, targets, weights), tf.cast(total, "float32"))
        loss = replica.all_reduce(SUM, loss)
        used = [index for index, gradient in enumerate(gradients) if gradient is not None]
        variables = [self.trainable_variables[index] for index in used]
        reduced = replica.all_reduce(SUM, [tf.convert_to_tensor(gradients[index]) for index in used])
        reduced, norm = self._clip(self._released(reduced))
        learning_rate = tf.cast(self.optimizer.learning_rate, "float32")
        self.optimizer.apply(reduced, variables)
        self._record(loss, total, norm, learning_rate, examples, tokens)
        return self.get_metrics_result()

    def test_step(self, data):
        """Loss and metrics of a replica's share of a batch."""
        features, targets, weights = data
        outputs = self.inner(features, training=False)
        values = self._loss(targets, outputs, sample_weight=weights)
        loss, total = tf.distribute.get_replica_context().all_reduce(
            SUM, [tf.reduce_sum(tf.cast(values, "float32")), tf.cast(_count(weights), "float32")]
        )
        self._tracker_of_loss.update_state(tf.math.divide_no_nan(loss, total), sample_weight=total)
        self._update_metrics(targets, outputs, weights)
        for metric in self._counted_in:
            metric.update_state(targets, outputs, sample_weight=weights)
        return self.get_metrics_result()

    def _accumulated(self, replica, batch, total):
        """Loss and gradients of a replica's rows, a part at a time; None for weights that the loss does not reach."""
        self._seed_dropout(replica)
        if self.accumulate == 1:
            features, targets, weights = batch
            return self._differentiate(features, targets, weights, total)
        loss, gradients = self._part(batch, 0, total)
        for number in range(1, self.accumulate):
            # each part waits for the one before, so that the activations of one only are alive
            with tf.control_dependencies([loss, *(one for one in gradients if one is not None)]):
                self._seed_dropout(replica, number)
                part_loss, more = self._part(batch, number, total)
            loss += part_loss
            gradients = [None if one is None else one + other for one, other in zip(gradients, more, strict=True)]
        return loss, gradients

    def _part(self, batch, number, total):
        """Loss and gradients of one part; sparse ones become dense, as sums of them would grow with the parts."""
        features, targets, weights = tf.nest.map_structure(lambda one: _rows(one, number, self.accumulate), batch)
        loss, gradients = self._differentiate(features, targets, weights, total)
        return loss, [None if one is None else tf.convert_to_tensor(one) for one in gradients]

    def _forward_and_backward(self, features, targets, weights, total):
        with tf.GradientTape() as tape:
            outputs = self.inner(features, training=True)
            values = self._loss(targets, outputs, sample_weight=weights)
            loss = tf.math.divide_no_nan(tf.reduce_sum(tf.cast(values, "float32")), total)
            shares = tf.distribute.get_strategy().num_replicas_in_sync * self.accumulate
            for penalty in self.inner.losses:  # regularization: the same on every replica, in every part
                loss += tf.cast(penalty, "float32") / shares
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in self.trainable_variables])
        self._update_metrics(targets, outputs, weights)
        return loss, gradients

    def _update_metrics(self, targets, outputs, weights):
        for metric in self._task_metrics:
            metric.update_state(targets, outputs, sample_weight=weights)

    def _seed_dropout(self, replica, part=0):
        """Makes each dropout layer's draws a function of (seed, layer, step, part, replica)."""
        place = self._counts[0] * self.accumulate + part
        place = place * replica.num_replicas_in_sync + tf.cast(replica.replica_id_in_sync_group, "int64")
        for index, state in enumerate(self._dropout_states):
            state.assign(tf.stack([tf.constant(self.seed + 7919 * index, "int64"), place * CALLS]))

    def _released(self, gradients):
        """What of the gradients, added over the replicas, may be learned from: all."""
        return gradients

    def _clip(self, gradients):
        """The gradients, no longer than ``clip_norm`` together, and their length before."""
        scale = tf.cast(self.optimizer.scale_loss(tf.constant(1.0)), "float32")
        norm = tf.linalg.global_norm(gradients) / scale
        if self.clip_norm is None:
            return gradients, norm
        factor = self.clip_norm / tf.maximum(norm, self.clip_norm)
        return [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients], norm

    def _record(self, loss, total, norm, learning_rate, examples, tokens):
        # every replica adds the global sums, so that the mean is right on each and over all
        self._tracker_of_loss.update_state(loss, sample_weight=tf.cast(total, "float32"))
        finite = tf.math.is_finite(loss)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):  # which skips what is too large
            finite &= tf.math.is_finite(norm)
        step, bad_step = self._counts[0] + 1, self._counts[3]
        bad_step = tf.where(finite | (bad_step >= 0), bad_step, step)
        self._counts.assign(tf.stack([step, self._counts[1] + examples, self._counts[2] + tokens, bad_step]))
        self._latest.assign(tf.stack([loss, norm, learning_rate]))

    def _take_over(self, optimizer):
        """Builds the optimizer and replaces what Keras would do at the wrong time."""
        if not optimizer.built:
            optimizer.build(self.trainable_variables)
        for one in (optimizer, getattr(optimizer, "inner_optimizer", None)):
            if one is not None:
                one._all_reduce_sum_gradients = list  # they are added over the replicas before the clipping
        self._finalize = optimizer.finalize_variable_values
        optimizer.finalize_variable_values = _nothing  # `fit` ends once an epoch, the run only once

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Everything is built. Keras would run the input pipeline once more, and fails under several workers."""

    def _make_function(self, step_function):
        """Keras's; under several workers one of its own, for Keras's reduces the scalars of a step along an axis.

        What a step returns is each worker's own: the loss is that of all, for the step has reduced it; the metrics of
        all are read at the end of the epoch.
        """
        strategy = self.distribute_strategy
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return super()._make_function(step_function)

        @tf.autograph.experimental.do_not_convert
        def one_step(iterator):
            outputs = strategy.run(step_function, args=(iterator.get_next(),))
            return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], outputs)

        return tf.function(one_step, reduce_retracing=True)


def _rows(tensor, number, parts):
    """The rows of one of several equal parts of a tensor ``[B, ...]``."""
    rows = (tensor.shape[0] or tf.shape(tensor)[0]) // parts
    return tensor[number * rows : (number + 1) * rows]


def _nothing(variables):
    pass


def without_reduction(loss: keras.losses.Loss) -> keras.losses.Loss:
    """The same loss, which gives each target its value."""
    if loss.reduction in (None, "none"):
        return loss
    return type(loss).from_config({**loss.get_config(), "reduction": "none"})


def _count(weights):
    """How many targets are real, as int64: those with a weight other than 0."""
    return tf.math.count_nonzero(weights)


def _sizes(features, weights):
    """Real rows and real tokens of a batch, as int64; a row is real when one of its targets is."""
    real = tf.reduce_any(tf.reshape(weights, (tf.shape(weights)[0], -1)) != 0, axis=1)  # [B]
    mask = features.get("padding_mask") if isinstance(features, dict) else None
    tokens = real if mask is None else tf.cast(mask, "bool") & real[:, None]
    return tf.math.count_nonzero(real), tf.math.count_nonzero(tokens)
