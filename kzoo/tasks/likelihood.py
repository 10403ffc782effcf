"""How likely given tokens are: a few positions at a time, for their scores over the vocabulary are large."""

import tensorflow as tf

# R rows, T length, D width, V vocabulary

POSITIONS = 256
"""Positions whose scores over the vocabulary are in memory at once."""


def log_probabilities(backbone, hidden, targets) -> tf.Tensor:
    """Of targets ``[R, T]`` by hidden states ``[R, T, D]``, float32 ``[R, T]``; so many positions at a time."""
    width = tf.shape(hidden)[2]
    flat, wanted = tf.reshape(hidden, [-1, width]), tf.reshape(targets, [-1])
    number = (tf.size(wanted) + POSITIONS - 1) // POSITIONS
    found = tf.TensorArray(tf.float32, number, infer_shape=False, element_shape=[None])

    def body(index, found):
        here = slice(index * POSITIONS, (index + 1) * POSITIONS)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted[here], logits=backbone.logits(flat[here]))
        return index + 1, found.write(index, -losses)

    _, found = tf.while_loop(lambda index, _: index < number, body, (tf.constant(0), found), parallel_iterations=1)
    return tf.reshape(found.concat(), tf.shape(targets))
