"""The training step of DP-SGD (Abadi et al. 2016, algorithm 1): each example's gradient is clipped, noise is added.

Examples are taken one after the other, each without padding, so that the memory is that of one example and one
gradient. The sum is divided by the *expected* number of examples of a step, which the data do not change.
"""

import tensorflow as tf

from kzoo.training.privacy import Mechanism
from kzoo.training.step import TrainingModel

# B rows of a replica or part, T length, C outputs


class PrivateTrainingModel(TrainingModel):
    """As ``TrainingModel``, with the gradients of a private mechanism.

    Clipping is done on each replica and part, sums are added up over them, and the same noise is drawn on each replica.

    Args:
        model: features to outputs; each row is an example.
        mechanism: its noise.
        kwargs: see ``TrainingModel``.
    """

    def __init__(self, model, *, mechanism: Mechanism, **kwargs):
        super().__init__(model, **kwargs)
        self.mechanism = mechanism

    def _forward_and_backward(self, features, targets, weights, total):
        variables = [variable.value for variable in self.trainable_variables]
        size = tf.shape(weights)[0]
        # rows that only fill the batch stand behind the real ones
        number = tf.reduce_max(tf.where(weights != 0, tf.range(size) + 1, 0))
        reached: list[bool] = []

        def of_row(index):
            one = {name: value[index : index + 1] for name, value in features.items()}
            length = tf.maximum(tf.reduce_sum(tf.cast(one["padding_mask"], "int32")), 1)
            one = {name: value[:, :length] for name, value in one.items()}
            with tf.GradientTape() as tape:
                outputs = self.inner(one, training=True)
                values = self._loss(targets[index : index + 1], outputs, sample_weight=weights[index : index + 1])
                loss = tf.reduce_sum(tf.cast(values, "float32"))
            gradients = tape.gradient(loss, variables)
            reached[:] = [gradient is not None for gradient in gradients]
            return tf.cast(outputs, "float32"), loss, _clipped(gradients, self.mechanism.clip)

        def body(index, loss, sums, outputs):
            answered, value, gradients = of_row(index)
            kept = iter(gradients)
            sums = [one + next(kept) if is_reached else one for one, is_reached in zip(sums, reached, strict=True)]
            return index + 1, loss + value, sums, outputs.write(index, answered)

        units = self.inner.output_shape[-1]
        outputs = tf.TensorArray("float32", size=number, element_shape=[1, units], infer_shape=False)
        sums = [tf.zeros(variable.shape, "float32") for variable in variables]
        _, loss, sums, outputs = tf.while_loop(
            lambda index, *_: index < number,
            body,
            (tf.constant(0), tf.constant(0.0), sums, outputs),
            parallel_iterations=1,
        )
        answered = tf.reshape(outputs.stack(), [-1, units])
        self._update_metrics(targets[:number], answered, weights[:number])
        found = zip(sums, reached, strict=True)
        gradients = [one / self.mechanism.lot if is_reached else None for one, is_reached in found]
        return tf.math.divide_no_nan(loss, total), gradients

    def _released(self, gradients):
        """The sums over all replicas with noise; a function of the seed and the step, the same on each replica."""
        spread = self.mechanism.noise_multiplier * self.mechanism.clip / self.mechanism.lot

        def noise(place, gradient):
            seed = tf.stack([tf.constant(self.mechanism.seed, "int64"), self._counts[0] * len(gradients) + place])
            return tf.random.stateless_normal(tf.shape(gradient), seed, stddev=spread)

        return [gradient + tf.cast(noise(place, gradient), gradient.dtype) for place, gradient in enumerate(gradients)]


def _clipped(gradients, most: float) -> list[tf.Tensor]:
    """One example's gradients, dense float32, no longer than ``most`` together; zeros where one is no number."""
    dense = [tf.cast(tf.convert_to_tensor(one), "float32") for one in gradients if one is not None]
    norm = tf.linalg.global_norm(dense)
    factor = tf.where(tf.math.is_finite(norm), most / tf.maximum(norm, most), 0.0)
    return [tf.math.multiply_no_nan(one, factor) for one in dense]
