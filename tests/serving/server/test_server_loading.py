"""From a folder to a servable: sessions over real SavedModels, warm-up requests, and models that cannot be loaded."""

import shutil

import numpy as np
import pytest

from kzoo.serving import protos, stubs
from kzoo.serving.server import Options, warmup
from kzoo.serving.server.batch_scheduler import BatchingOptions, BatchScheduler
from kzoo.serving.server.errors import Code, StatusError
from kzoo.serving.server.loading import Loader
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.servable import predict
from kzoo.serving.server.session import SavedModelSession
from kzoo.serving.tensors import fill, strings


@pytest.fixture
def model(tmp_path, save):
    save(tmp_path / "1", 10.0)
    return tmp_path / "1"


def _load(path, metrics=None, **options):
    return Loader(Options(**options), metrics or Metrics())("m", 1, str(path))


def _failure(function, *arguments, **options):
    with pytest.raises(StatusError) as caught:
        function(*arguments, **options)
    return caught.value


def _ask(servable, *values):
    signature = servable.signatures["serving_default"]
    return predict(servable, signature, {"x": np.array(values, np.float32)})["y"].tolist()


def _log(signature="", name="m", **inputs):
    log = stubs.load("prediction_log_pb2").PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for alias, array in inputs.items():
        fill(request.inputs[alias], array)
    return log


def _write(path, records):
    import tensorflow as tf

    file = path / warmup.FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return file


def test_warm_up_requests_run_before_a_version_counts_as_loaded(model):
    metrics = Metrics()
    _write(model, [_log(x=np.ones(2, np.float32)), _log("serving_default", x=np.ones(1, np.float32))])
    servable = _load(model, metrics, warm_up_iterations=3)
    assert _ask(servable, 1.0) == [11.0]
    page = metrics.page().decode()
    assert f':tensorflow:serving:model_warmup_records_read{{model_path="{model}",status="OK"}} 2' in page
    assert ':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"} 7' in page


@pytest.mark.parametrize(
    "record, code, message",
    [
        (_log(x=np.ones(1, np.int32)), Code.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"),
        (_log("no", x=np.ones(1, np.float32)), Code.FAILED_PRECONDITION, 'Serving signature key "no" not found.'),
        (_log(), Code.INVALID_ARGUMENT, "input size does not match signature: 0!=1"),
        (b"\xff\xff", Code.INVALID_ARGUMENT, "Failed to parse warmup record"),
    ],
)
def test_any_warm_up_request_that_fails_fails_the_load(model, record, code, message):
    _write(model, [_log(x=np.ones(1, np.float32)), record])
    error = _failure(_load, model)
    assert error.code is code and error.message.startswith(message)
    assert _ask(_load(model, warm_up=False), 1.0) == [11.0]


def test_warm_up_of_every_kind(models, tmp_path):
    shutil.copytree(models / "words" / "1", tmp_path / "1")
    classify, regress, both, session = (stubs.load("prediction_log_pb2").PredictionLog() for _ in range(4))
    classify.classify_log.request.model_spec.signature_name = "classify"
    regress.regress_log.request.model_spec.signature_name = "regress"
    task = both.multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "words", "regress"
    for request in (classify.classify_log.request, regress.regress_log.request, both.multi_inference_log.request):
        example = request.input.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(b"abc")
    _write(tmp_path / "1", [classify, regress, both, _log("join", text=strings(["a"]))])
    _load(tmp_path / "1").close()
    session.session_run_log.SetInParent()
    _write(tmp_path / "1", [session])
    error = _failure(_load, tmp_path / "1")
    assert error.code is Code.UNIMPLEMENTED and error.message.startswith("Unsupported log_type for warmup")


def test_a_warm_up_file_that_is_cut_or_too_long_fails_the_load(model):
    file = _write(model, [_log(x=np.ones(1, np.float32))] * 2)
    file.write_bytes(file.read_bytes()[:-3])
    error = _failure(_load, model)
    assert error.code is Code.DATA_LOSS
    assert error.message.endswith("Please verify your warmup data is in TFRecord format.")
    _write(model, [_log(x=np.ones(1, np.float32))] * 1001)
    assert _failure(_load, model).message.startswith("Number of warmup records exceeds the maximum (1000) at ")


@pytest.mark.parametrize(
    "damage, code",
    [
        (lambda path: (path / "saved_model.pb").unlink(), Code.NOT_FOUND),
        (lambda path: (path / "saved_model.pb").write_bytes(b"not a model"), Code.DATA_LOSS),
        (lambda path: (path / "saved_model.pb").write_bytes(b""), Code.NOT_FOUND),
        (lambda path: (path / "variables" / "variables.data-00000-of-00001").unlink(), None),
        (lambda path: (path / "variables" / "variables.data-00000-of-00001").write_bytes(b"\0"), None),
    ],
    ids=["no model", "not a model", "empty", "no variables", "cut variables"],
)
def test_a_damaged_model_fails_with_a_reason(model, damage, code):
    damage(model)
    with pytest.raises(Exception) as caught:
        _load(model)
    if code is not None:
        assert caught.value.code is code
    assert str(caught.value)


def test_tags_choose_the_graph(model):
    assert "matching supplied tags: { gpu serve }" in _failure(_load, model, tags=("serve", "gpu")).message


def test_an_op_that_nobody_knows_is_named(model):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].graph_def.node.add(name="odd", op="NoSuchOp")
    (model / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert _failure(_load, model).message == "Op type not registered 'NoSuchOp' in binary running on this machine."


def test_tables_assets_and_text_ops_are_restored(text_model):
    servable = _load(text_model / "1")
    signature = servable.signatures["serving_default"]
    assert predict(servable, signature, {"text": strings(["one", "zero", "two"])})["number"].tolist() == [1, 0, -1]


def test_compiled_functions_are_found_through_their_callers(models):
    session = SavedModelSession(str(models / "numbers" / "7"))
    assert session.compiled == {"compiled"}
    session.close()


def test_a_run_past_its_time_is_cut_short(models):
    session = SavedModelSession(str(models / "numbers" / "7"))
    definition = session.signature_definitions["sleep"]
    feeds = {definition.inputs["seconds"].name: np.array([60.0], np.float32)}
    error = _failure(session.run, feeds, [definition.outputs["turns"].name], 0.2)
    assert (error.code, error.message) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    assert _failure(session.run, feeds, [definition.outputs["turns"].name], -1.0).code is Code.DEADLINE_EXCEEDED
    feeds = {definition.inputs["seconds"].name: np.array([0.0], np.float32)}
    assert session.run(feeds, [definition.outputs["turns"].name], 60.0)[0].tolist() == [0]
    session.close()


def test_a_retired_version_finishes_what_it_has_begun(model):
    import threading

    servable = _load(model)
    assert servable.acquire()
    closing = threading.Thread(target=servable.close)
    closing.start()
    while servable.acquire():  # until it is retired
        servable.release()
    assert closing.is_alive() and _ask(servable, 1.0) == [11.0]
    servable.release()
    closing.join(30)
    assert not closing.is_alive()
    assert not servable.acquire()


def test_each_model_may_bring_its_own_batching(model, tmp_path):
    scheduler = BatchScheduler(1)
    loader = Loader(
        Options(per_model_batching=True), Metrics(), scheduler=scheduler, batching=BatchingOptions(max_batch_size=1)
    )
    assert _ask(loader("m", 1, str(model)), 1.0, 2.0) == [11.0, 12.0]  # no file of its own: not batched
    protos.write(model / "batching_params.pbtxt", protos.BatchingParameters(max_batch_size={"value": 2}))
    servable = loader("m", 1, str(model))
    assert _ask(servable, 1.0, 2.0) == [11.0, 12.0]
    assert "Task size 3 is larger than maximum input batch size 2" in str(_failure(_ask, servable, 1.0, 2.0, 3.0))
    (model / "batching_params.pbtxt").write_text("max_size: 3")
    assert "batching_params.pbtxt, line 1" in _failure(loader, "m", 1, str(model)).message
    scheduler.stop(10)
