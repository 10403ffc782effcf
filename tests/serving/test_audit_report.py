"""The whole audit: of kzoo's exports and of SavedModels that others wrote."""

import json
import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from kzoo.cli.main import app
from kzoo.errors import UserError
from kzoo.serving.audit_report import report, summary

TEXT = tf.TensorSpec([None], tf.string, name="text")


def write(directory, function, specs=(TEXT,), module=None):
    traced = tf.function(function, input_signature=list(specs), autograph=False)
    tf.saved_model.save(module or tf.Module(), str(directory), signatures={"serving_default": traced})
    return directory


def test_a_classifier_of_kzoo(classify):
    found = report(classify.path)
    assert found["servable"] and not found["problems"] and found["serving"] == "2.19"
    one = found["signatures"]["serving_default"]
    assert one["operations"]["MatMul"]["linked"] and one["operations"]["MatMul"]["attributes"] == [
        "T"
    ]  # defaults are not written
    assert one["nodes"] == sum(use["nodes"] for use in one["operations"].values()) > 100
    assert one["batching"]["is_legal"] and one["compiled"] == []
    assert one["strings"] == dict.fromkeys(("classes", "label"), "UTF-8: the graph transcodes it last")
    weights = found["weights"]["by_dtype"]["float32"]
    parameters = sum(weight.value.shape.num_elements() for weight in classify.task.model.weights)
    assert (weights["parameters"], weights["bytes"]) == (parameters, 4 * parameters)
    assert found["warm_up"]["by_signature"]["serving_default"] > 1
    assert sum(found["warm_up"]["by_signature"].values()) == found["warm_up"]["records"]
    assert found["bytes"]["folder"] == sum(file.stat().st_size for file in classify.path.rglob("*") if file.is_file())
    assert found["verified"]["task"] == "classify"
    largest = found["constants"]["largest"]
    assert [one["bytes"] for one in largest] == sorted((one["bytes"] for one in largest), reverse=True)
    assert json.loads(json.dumps(found)) == found


def test_every_function_is_sized(classify):
    functions = report(classify.path)["functions"]
    assert functions["count"] == len(functions["each"]) > 1
    assert any(one["reached"] for one in functions["each"].values())
    assert any(not one["reached"] for one in functions["each"].values())  # those that save and restore


def test_the_summary_stands_beside_the_export(classify):
    written = json.loads((classify.path / "assets.extra" / "audit.json").read_text(encoding="utf-8"))
    now = json.loads(json.dumps(summary(report(classify.path))))
    assert written["signatures"] == now["signatures"] and written["weights"] == now["weights"]
    assert written["servable"] and "each" not in written["functions"]


def test_a_model_that_keras_exported(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.export(str(tmp_path / "model"), verbose=False)
    found = report(tmp_path / "model")
    assert found["servable"] and found["verified"] is None and found["warm_up"]["records"] == 0
    assert found["weights"]["by_dtype"]["float32"]["parameters"] == 16  # Keras writes each variable twice
    assert found["signatures"]["serving_default"]["batching"] == {
        "is_legal": True,
        "inputs_may_differ": False,
        "notes": [],
    }


def test_constants_are_named_where_they_stand(tmp_path):
    table = tf.random.stateless_uniform([300], [1, 2])

    def look_up(text):
        return {"y": tf.gather(table, tf.strings.length(text))}

    (largest, *_) = report(write(tmp_path, look_up))["constants"]["largest"]
    assert largest["shape"] == [300] and largest["dtype"] == "float32" and 1200 <= largest["bytes"] < 1300


def test_text_is_proven_only_where_the_graph_transcodes_it(tmp_path):
    def answer(text):
        clean = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        strict = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="strict")
        return {"clean": tf.identity(clean), "raw": tf.strings.substr(text, 0, 1), "strict": strict, "x_bytes": text}

    strings = report(write(tmp_path, answer))["signatures"]["serving_default"]["strings"]
    assert strings["clean"].startswith("UTF-8: ") and strings["x_bytes"].startswith("any bytes")
    assert strings["raw"].startswith("not proven UTF-8: ") and strings["strict"].startswith("not proven UTF-8: ")


def test_inputs_of_any_length_join_only_when_equal(tmp_path):
    ids = tf.TensorSpec([None, None], tf.int32, name="token_ids")
    one = report(write(tmp_path, lambda token_ids: {"y": token_ids + 1}, [ids]))["signatures"]["serving_default"]
    assert one["batching"]["is_legal"] and one["batching"]["inputs_may_differ"]
    assert any(
        "pad_variable_length_inputs fills up with the first element" in note for note in one["batching"]["notes"]
    )


def test_a_model_without_signatures_is_no_good(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    assert report(tmp_path)["problems"] == ["signatures are not there, so there is nothing that could be asked"]


def test_warm_up_requests_that_would_stop_the_loading_are_found(tmp_path):
    write(tmp_path, lambda text: {"y": tf.strings.length(text)})
    (tmp_path / "assets.extra").mkdir()
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(b"nothing that a TFRecord would be")
    assert [one for one in report(tmp_path)["problems"] if "warm-up requests cannot be read" in one]
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "other"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    assert report(tmp_path)["problems"] == ["the warm-up requests ask the signatures other, which are not there"]


def test_damaged_weights_are_named(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([1.0])
    write(tmp_path, lambda text: {"y": tf.zeros_like(text, tf.float32) + module.weight}, module=module)
    (tmp_path / "variables" / "variables.index").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="variables.index cannot be read"):
        report(tmp_path)


def test_the_command_prints_tables_and_ends_with_0_or_1(classify, tmp_path):
    run = CliRunner().invoke(app, ["audit", str(classify.path), "--operations"])
    assert run.exit_code == 0, run.output
    assert "text string [B]" in run.output and "MatMul" in run.output and "links all that" in run.output
    write(tmp_path, lambda text: {"y": tf.map_fn(tf.io.read_file, text)})
    run = CliRunner().invoke(app, ["audit", str(tmp_path)])
    assert run.exit_code == 1 and "PROBLEM: signature serving_default: ReadFile" in run.output
    run = CliRunner().invoke(app, ["audit", str(tmp_path), "--json"])
    assert run.exit_code == 1 and not json.loads(run.stdout)["servable"]
    run = CliRunner().invoke(app, ["audit", str(tmp_path / "none")])
    assert run.exit_code == 2 and "There is no SavedModel" in run.output


WITHOUT_KERAS = """
import sys
for name in ("keras", "tf_keras", "keras_hub"):
    sys.modules[name] = None
from kzoo.serving.audit_report import report
print(report(sys.argv[1])["servable"])
"""


def test_it_needs_no_keras(classify):
    asked = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(classify.path)], capture_output=True, text=True, check=False
    )
    assert asked.stdout.strip() == "True", asked.stderr[-2000:]
