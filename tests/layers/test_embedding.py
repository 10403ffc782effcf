import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.layers.embedding import TokenEmbedding
from tests.round_trip import POLICIES, array, assert_round_trip

IDS = np.array([[3, 1, 4], [1, 5, 9]], "int32")


def embedding(**options):
    layer = TokenEmbedding(vocabulary_size=10, hidden_dim=4, name="embedding", **options)
    layer.build()
    return layer


def test_a_token_gets_its_row():
    layer = embedding()
    np.testing.assert_array_equal(layer(IDS), layer.embeddings.numpy()[IDS])


def test_logits_are_products_with_every_row():
    layer = embedding(stddev=1.0)
    x = array(2, 3, 4)
    np.testing.assert_allclose(layer.logits(x), x @ layer.embeddings.numpy().T, atol=1e-6)
    np.testing.assert_allclose(layer.logits(x[:, 0]), x[:, 0] @ layer.embeddings.numpy().T, atol=1e-6)


def test_in_a_graph_of_unknown_sizes():
    layer = embedding(stddev=1.0)
    function = tf.function(
        lambda ids: layer.logits(layer(ids)), input_signature=[tf.TensorSpec([None, None], tf.int32)]
    )
    np.testing.assert_allclose(function(IDS), layer.logits(layer(IDS)), atol=1e-6)
    assert function.get_concrete_function().output_shapes[-1] == 10


def test_config_round_trip(tmp_path):
    assert_round_trip(embedding(stddev=0.5), tmp_path, IDS)


@pytest.mark.parametrize("policy", POLICIES)
def test_precision(policy):
    weights, outputs = POLICIES[policy]
    layer = embedding(dtype=policy, stddev=1.0)
    y = layer(IDS)
    assert layer.embeddings.dtype == weights
    assert keras.backend.standardize_dtype(y.dtype) == outputs
    assert keras.backend.standardize_dtype(layer.logits(y).dtype) == outputs
    np.testing.assert_allclose(tf.cast(y, "float32"), np.asarray(layer.embeddings)[IDS].astype("float32"), atol=1e-2)


def test_both_uses_train_the_matrix():
    layer = embedding(stddev=1.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(IDS))
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
    counts = np.bincount(IDS.ravel(), minlength=10)
    np.testing.assert_array_equal(gradient, np.repeat(counts[:, None], 4, 1).astype("float32"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.logits(array(2, 4)) ** 2)
    gradient = tape.gradient(loss, layer.embeddings.value)
    assert np.isfinite(gradient).all() and np.all(np.any(gradient, axis=1))


def test_ids_may_come_as_floats():
    layer = embedding()
    np.testing.assert_array_equal(layer(IDS.astype("float32")), layer(IDS))


def test_a_scale_is_for_reading_only():
    layer = TokenEmbedding(vocabulary_size=10, hidden_dim=4, scale=2.0)
    layer.build()
    layer.embeddings.assign(array(10, 4))  # fixed: of random ones a sum may come near to zero
    ids = np.array([[3, 1]], "int32")
    np.testing.assert_allclose(layer(ids), 2.0 * layer.embeddings.numpy()[ids])
    x = np.ones((1, 2, 4), "float32")
    np.testing.assert_allclose(layer.logits(x), x @ layer.embeddings.numpy().T, rtol=1e-5)
