"""Losses by which an embedder learns: like texts come close, unlike ones move apart, over all replicas of a step.

A batch holds each example's texts one after the other: ``text``, ``text_pair`` and, where there is one, ``negative``.
What the texts of other examples say counts too, so the vectors of all replicas are brought together first: the loss of
a batch does not depend on how many devices share it.
"""

import keras
import tensorflow as tf

from kzoo.errors import UserError

# W rows of a replica, R rows of all replicas, P pairs of all replicas, D width

ANCHOR, POSITIVE, NEGATIVE = 0, 1, 2
"""What a row is to its example."""
IMPOSSIBLE = -1e9
"""A logit that no softmax chooses."""
_BASE = 1 << 20


def text_numbers(number):
    """The number of a text in two parts, each exact in float32, so that equal texts can be told by their numbers."""
    return number % _BASE, number // _BASE


def of_all_replicas(values: tf.Tensor) -> tf.Tensor:
    """The rows ``[W, ...]`` of all replicas of a step one after the other, ``[R, ...]``; differentiable.

    Each replica puts its rows into their place among zeros, and the sum over replicas is all of them.

    Raises:
        UserError: several replicas in a step that is compiled, where replicas cannot speak with each other.
    """
    replica = tf.distribute.get_replica_context()
    number = 1 if replica is None else replica.num_replicas_in_sync
    if replica is None or number == 1:
        return values
    place = tf.one_hot(replica.replica_id_in_sync_group, number, dtype=values.dtype)  # [replicas]
    place = tf.reshape(place, [number] + [1] * values.shape.rank)
    spread = tf.reshape(place * values[tf.newaxis], tf.concat([[-1], tf.shape(values)[1:]], 0))
    try:
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, spread)
    except RuntimeError as error:
        raise UserError(
            "A step that learns from all texts of a batch cannot be compiled on several devices: they have to speak "
            "with each other in its middle. Set training.jit to false."
        ) from error


class BatchLoss(keras.losses.Loss):
    """A loss of rows that learn from each other: rows of weight 0, which only fill a batch, are nothing to the others.

    Subclasses define ``values`` and ``columns``, how many numbers their targets have.

    Args:
        temperature: by which differences of cosines are divided.
        kwargs: ``reduction``, ``name``, ``dtype``.
    """

    columns: int

    def __init__(self, *, temperature=0.05, **kwargs):
        super().__init__(**kwargs)
        self.temperature = temperature

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As Keras's; ``values`` sees, behind the targets, which rows count."""
        y_true = tf.cast(y_true, tf.float32)
        if y_true.shape[-1] != self.columns:
            raise UserError(
                "All examples of a run must be of one kind: pairs and triplets, or pairs with a number. These are not "
                "of the kind that the task learns from."
            )
        real = tf.ones_like(y_true[:, 0]) if sample_weight is None else tf.cast(sample_weight != 0, tf.float32)
        return super().__call__(tf.concat([y_true, real[:, tf.newaxis]], 1), y_pred, sample_weight)

    def call(self, y_true, y_pred):
        """Maps targets and vectors ``[W, D]`` to values ``[W]``."""
        vectors = tf.math.l2_normalize(tf.cast(y_pred, tf.float32), axis=-1, epsilon=1e-12)
        return self.values(y_true, vectors)

    def values(self, y_true, vectors):
        """The loss of each row ``[W]``; ``vectors`` ``[W, D]`` have length 1."""
        raise NotImplementedError

    def get_config(self):
        return super().get_config() | {"temperature": self.temperature}


@keras.saving.register_keras_serializable(package="kzoo")
class Contrastive(BatchLoss):
    """Finding a text's own pair among all others of the batch (van den Oord et al. 2018; Henderson et al. 2017).

    The cross entropy of a softmax over cosines divided by the temperature. A ``text`` seeks its ``text_pair`` among
    all pairs and ``negative``s of the batch; a ``text_pair`` its ``text`` among all texts. The mean over both ways.
    What is known to be right, too, is no wrong answer: a text equal to the one that seeks or to the one sought, and any
    text that stands in another example of the batch beside an equal one.

    Targets: the two ``text_numbers`` of a row and what it is (``ANCHOR``, ``POSITIVE``, ``NEGATIVE``), ``[W, 3]``.

    Args:
        temperature: the lower, the more the nearest wrong answers count.
        kwargs: ``reduction``, ``name``, ``dtype``.
    """

    columns = 3

    def __init__(self, *, temperature=0.05, name="contrastive", **kwargs):
        super().__init__(temperature=temperature, name=name, **kwargs)

    def values(self, y_true, vectors):
        """See ``BatchLoss``.

        Rows that seek nothing, the negatives, have 0, the others so much more that the mean is over those that seek.
        """
        mine, number = tf.cast(y_true[:, 2], tf.int32), tf.shape(y_true)[0]
        replica = tf.distribute.get_replica_context()
        first = 0 if replica is None else replica.replica_id_in_sync_group * number
        everyone, all_true = of_all_replicas(vectors), of_all_replicas(y_true)
        role, real = tf.cast(all_true[:, 2], tf.int32), all_true[:, 3] > 0  # [R]
        rows = tf.range(tf.shape(role)[0])
        partner = rows + tf.where(role == ANCHOR, 1, 0) - tf.where(role == POSITIVE, 1, 0)  # a negative: itself
        own = tf.gather(partner, first + tf.range(number))  # [W]

        same = tf.reduce_all(all_true[:, tf.newaxis, :2] == all_true[tf.newaxis, :, :2], axis=-1)  # [R, R]
        seeks = slice(first, first + number)
        equal, sought = same[seeks], tf.gather(same, own)  # [W, R]
        beside = tf.gather(same[seeks], partner, axis=1) & (role != NEGATIVE)
        known = tf.cast((equal | sought | beside) & real, tf.float32)
        right = tf.matmul(known, tf.cast(same, tf.float32)) > 0  # whichever copy of the text it is

        wanted = tf.where(mine == ANCHOR, 1, 0)[:, tf.newaxis]  # an anchor seeks pairs, a pair anchors
        candidate = tf.where(wanted == 1, role != ANCHOR, role == ANCHOR) & real & ~right
        candidate |= rows == own[:, tf.newaxis]
        logits = tf.matmul(vectors, everyone, transpose_b=True) / self.temperature  # [W, R]
        values = tf.reduce_logsumexp(tf.where(candidate, logits, IMPOSSIBLE), axis=1)
        values -= tf.gather(logits, own, batch_dims=1)
        seeking = tf.cast(mine != NEGATIVE, tf.float32)
        return values * seeking * tf.math.divide_no_nan(tf.cast(number, tf.float32), tf.reduce_sum(seeking))


def _of_pairs(y_true, vectors):
    """Cosines ``[P]`` of rows that stand two and two, their scores ``[P]``, and which count, float32 ``[P]``."""
    pairs = tf.reshape(vectors, [-1, 2, tf.shape(vectors)[-1]])
    return tf.reduce_sum(pairs[:, 0] * pairs[:, 1], axis=-1), y_true[::2, 0], y_true[::2, 1]


@keras.saving.register_keras_serializable(package="kzoo")
class CosineScore(BatchLoss):
    """The squared difference between the cosine of a pair and its score, brought to 0 to 1 (Reimers and Gurevych 2019).

    Targets: the score, in both rows of a pair, ``[W, 1]``.

    Args:
        low: the score of texts that have nothing in common.
        high: that of equal ones.
        kwargs: ``temperature``, which changes nothing here; ``reduction``, ``name``, ``dtype``.
    """

    columns = 1

    def __init__(self, *, low=0.0, high=1.0, name="cosine_score", **kwargs):
        super().__init__(name=name, **kwargs)
        self.low, self.high = low, high

    def values(self, y_true, vectors):
        """See ``BatchLoss``."""
        cosines, scores, _ = _of_pairs(y_true, vectors)
        return tf.repeat((cosines - (scores - self.low) / (self.high - self.low)) ** 2, 2)

    def get_config(self):
        return super().get_config() | {"low": self.low, "high": self.high}


@keras.saving.register_keras_serializable(package="kzoo")
class CosineOrder(BatchLoss):
    """Pairs with a higher score are to have a higher cosine (CoSENT: Su 2022).

    ``log(1 + sum(exp((cosine of the lower - cosine of the higher) / temperature)))`` over all pairs of pairs of the
    batch whose scores differ; one number for the whole batch. Only the order of the scores counts, not their scale.

    Targets: the score, in both rows of a pair, ``[W, 1]``.

    Args:
        temperature: the lower, the more the worst order counts.
        kwargs: ``reduction``, ``name``, ``dtype``.
    """

    columns = 1

    def __init__(self, *, temperature=0.05, name="cosine_order", **kwargs):
        super().__init__(temperature=temperature, name=name, **kwargs)

    def values(self, y_true, vectors):
        """See ``BatchLoss``."""
        cosines, scores, real = (of_all_replicas(one) for one in _of_pairs(y_true, vectors))
        counts = (scores[:, tf.newaxis] > scores) & (real[:, tf.newaxis] > 0) & (real > 0)  # [P, P]
        wrong = (cosines - cosines[:, tf.newaxis]) / self.temperature  # of the lower, less that of the higher
        wrong = tf.reshape(tf.where(counts, wrong, IMPOSSIBLE), [-1])
        value = tf.reduce_logsumexp(tf.concat([[0.0], wrong], 0))
        return tf.fill([tf.shape(y_true)[0]], value)
