"""What the stock server could not run is found, and named."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.serving import audit

TEXT = tf.TensorSpec([None], tf.string, name="text")


def save(directory, name="serving_default", **signatures):
    functions = {
        key: tf.function(function, input_signature=[TEXT], autograph=False) for key, function in signatures.items()
    }
    tf.saved_model.save(tf.Module(), str(directory), signatures=functions)
    return directory


def problems(directory):
    return [(finding.signature, finding.operation, finding.problem) for finding in audit.audit(directory)]


def test_an_ordinary_model_passes(tmp_path):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
    module = tf.Module()
    module.table, module.weight = table, tf.Variable([2.0])

    @tf.function(input_signature=[TEXT])
    def serve(text):
        return {"y": tf.cast(table.lookup(text), tf.float32) * module.weight}

    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    assert audit.audit(tmp_path) == []


def test_a_real_export_passes(classify, generate):
    assert audit.audit(classify.path) == audit.audit(generate.path) == []


def test_python_file_and_network_operations_are_found(tmp_path):
    def python(text):
        return {"y": tf.numpy_function(lambda values: values, [text], tf.string)}

    def inner(text):
        return {"y": tf.map_fn(tf.io.read_file, text)}

    found = problems(save(tmp_path, serving_default=python, reads=inner))
    assert [one for one in found if one[0] == "serving_default"] == [
        ("serving_default", "PyFunc", "runs Python code, which the server lacks")
    ] + [one for one in found if one[0] == "serving_default" and one[1] == "output"]
    assert ("reads", "ReadFile", "reads or writes files") in found


def test_operations_newer_than_the_server_are_found(tmp_path):
    def decode(text):
        image = tf.raw_ops.DecodeWebP(contents=text[0])
        return {"y": tf.fill(tf.shape(text), tf.reduce_sum(tf.cast(image, tf.int32)))}

    assert problems(save(tmp_path, serving_default=decode)) == [
        ("serving_default", "DecodeWebP", "is not linked into the server")
    ]


def test_compiled_functions_belong_to_signatures_that_say_so(tmp_path):
    @tf.function(jit_compile=True)
    def double(x):
        return x * 2

    def serve(text):
        return {"y": double(tf.strings.length(text))}

    found = problems(save(tmp_path, serving_default=serve, serving_default_xla=serve))
    assert {one[0] for one in found} == {"serving_default"}
    assert "XLA" in found[0][2]


def test_an_output_without_a_batch_is_found(tmp_path):
    found = problems(save(tmp_path, serving_default=lambda text: {"count": tf.size(text)}))
    assert found == [("serving_default", "output", "has no batch dimension, so requests cannot be joined")]


def test_refusing_names_every_reason(tmp_path):
    save(tmp_path, serving_default=lambda text: {"y": tf.map_fn(tf.io.read_file, text)})
    with pytest.raises(
        UserError, match="(?s)stock TensorFlow Serving 2.19.*serving_default: ReadFile.*reads or writes"
    ):
        audit.refuse(tmp_path)


def test_an_unknown_server_is_refused(tmp_path):
    with pytest.raises(UserError, match="serving must be one of 2.19, 2.20, 2.21. Received '1.0'"):
        audit.audit(tmp_path, serving="1.0")


def test_a_damaged_graph_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(UserError, match="saved_model.pb is damaged"):
        audit.audit(tmp_path)
