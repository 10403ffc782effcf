import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.training.optimizer import AdamW, adamw, decays


def layers():
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(7, 4, name="embedding"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Dense(3, name="dense"),
        ]
    )
    return model


def gradients_of(variables, count=5):
    random = np.random.default_rng(0)
    return [[random.normal(size=variable.shape).astype("float32") for variable in variables] for _ in range(count)]


def follow(optimizer, variables, gradients):
    step = tf.function(lambda *given: optimizer.apply(list(given), variables))
    for given in gradients:
        step(*given)
    return [np.asarray(variable) for variable in variables]


def test_same_numbers_as_keras():
    arguments = dict(learning_rate=0.05, weight_decay=0.1, beta_1=0.8, beta_2=0.95, epsilon=1e-6)
    results = []
    for kind in (AdamW, keras.optimizers.AdamW):
        keras.utils.set_random_seed(0)
        variables = layers().trainable_variables
        results.append(follow(kind(**arguments), variables, gradients_of(variables)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def test_sparse_gradients_move_what_dense_ones_do():
    """A row without a gradient in a step still moves by its moments, as in the paper."""
    results = []
    for sparse in (True, False):
        variable = keras.Variable(np.ones((5, 2), "float32"))
        optimizer = AdamW(learning_rate=0.1, weight_decay=0.0)
        optimizer.build([variable])
        for rows in ([0, 3, 3], [1, 2, 0]):
            slices = tf.IndexedSlices(tf.ones([3, 2]) * 0.5, tf.constant(rows), tf.constant([5, 2]))
            optimizer.apply([slices if sparse else tf.convert_to_tensor(slices)], [variable])
        results.append(np.asarray(variable))
    np.testing.assert_array_equal(*results)
    assert (results[0][3] < results[0][1]).all()


def test_decay_spares_biases_and_norms_and_what_is_asked_for():
    variables = layers().trainable_variables
    decayed = {variable.path for variable in variables if decays(variable)}
    assert sorted(path.split("/")[-1] for path in decayed) == ["embeddings", "kernel"]
    spared = [variable for variable in variables if not decays(variable, exclude=["embedding"])]
    assert sorted(variable.name for variable in spared) == ["beta", "bias", "embeddings", "gamma"]


def test_weights_without_gradient_only_decay_where_they_should():
    keras.utils.set_random_seed(0)
    variables = layers().trainable_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    optimizer = adamw(variables, learning_rate=0.1, weight_decay=0.5, no_decay=["embedding"])
    after = follow(optimizer, variables, [[np.zeros(variable.shape, "float32") for variable in variables]] * 2)
    for variable, value in zip(variables, after, strict=True):
        expected = (1 - 0.1 * 0.5) ** 2 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(value, np.full(variable.shape, expected), rtol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize("arguments", [dict(amsgrad=True), dict(dtype="float64")])
def test_what_the_fused_kernel_cannot_do_is_left_to_keras(arguments):
    dtype = arguments.pop("dtype", "float32")
    results = []
    for kind in (AdamW, keras.optimizers.AdamW):
        variable = keras.Variable(np.ones((2, 2)), dtype=dtype)
        optimizer = kind(learning_rate=0.1, **arguments)
        optimizer.build([variable])
        optimizer.apply([tf.ones([2, 2], dtype)], [variable])
        results.append(np.asarray(variable))
    np.testing.assert_array_equal(*results)
    assert (results[0] < 1).all()


def test_config_round_trip():
    optimizer = AdamW(learning_rate=0.1, beta_2=0.9, weight_decay=0.3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is AdamW
    assert again.get_config() == pytest.approx(optimizer.get_config())
