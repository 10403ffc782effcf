"""Warm-up requests: the right shapes, valid for any server, few enough, and each of them answered."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kzoo.serving import saved_model, warmup


def shapes(requests, signature="serving_default"):
    return [(request.rows, request.length) for request in requests if request.signature == signature]


def test_every_batch_size_meets_every_length(classify):
    plan = warmup.Plan(batch_sizes=(1, 2, 4), lengths=(8, 16, 32))
    requests = warmup.requests(classify.task, classify.task.signatures(), plan)
    short, middle, long = sorted({length for _, length in shapes(requests)})
    assert 4 < short <= 8 < middle <= 16 < long <= 32  # as near as whole words come
    assert sorted(shapes(requests)) == [(rows, length) for rows in (1, 2, 4) for length in (short, middle, long)]
    assert sorted(shapes(requests, "classify")) == sorted(shapes(requests))
    feature = {"text": tf.io.FixedLenFeature([], tf.string)}
    for request in requests:
        is_plain = request.signature == "serving_default"
        inputs = request.inputs if is_plain else tf.io.parse_example(request.inputs["inputs"], feature)
        lengths = classify.task.tokenize(inputs)["token_ids"].row_lengths().numpy()
        assert lengths.tolist() == [request.length] * request.rows


def test_little_work_keeps_each_size_and_each_length(classify):
    plan = warmup.Plan(batch_sizes=(1, 2, 4), lengths=(8, 16, 32), work=0)
    requests = warmup.requests(classify.task, classify.task.signatures(), plan)
    short, middle, long = sorted({length for _, length in shapes(requests)})
    assert shapes(requests) == [(1, short), (1, middle), (2, short), (1, long), (4, short)]


def test_lengths_that_the_model_cannot_read_are_left_out(classify):
    plan = warmup.Plan(batch_sizes=(1,), lengths=(16, 32, 512))
    lengths = [length for _, length in shapes(warmup.requests(classify.task, classify.task.signatures(), plan))]
    assert len(lengths) == 2 and max(lengths) <= 32


def test_a_signature_that_decodes_its_fill_is_asked_once(generate):
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8, 16), work=0)
    requests = warmup.requests(generate.task, generate.task.signatures(), plan)
    assert [rows for rows, _ in shapes(requests)] == [1]
    assert sorted(rows for rows, _ in shapes(requests, "generate")) == [1, 1, 2]


def test_every_input_is_given_and_few_tokens_are_asked_for(generate):
    requests = warmup.requests(generate.task, generate.task.signatures(), warmup.Plan(batch_sizes=(2,), lengths=(8,)))
    inputs = next(request for request in requests if request.signature == "generate").inputs
    assert set(inputs) == set(generate.task.signatures()["generate"].inputs)
    knobs = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")
    assert {name: inputs[name].numpy().tolist() for name in knobs} == {
        "max_new_tokens": [2, 2],
        "temperature": [0.0, 0.0],
        "top_k": [0, 0],
        "top_p": [1.0, 1.0],
        "seed": [0, 0],
    }


def test_the_file_is_a_tfrecord_of_prediction_logs_that_the_export_answers(generate):
    path = generate.path / saved_model.EXTRA / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    requests = list(warmup.read(path))
    assert len(requests) == len(logs) >= 4
    assert {one.model_spec.signature_name for one in requests} == set(generate.task.signatures())
    loaded = tf.saved_model.load(str(generate.path))
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        answer = loaded.signatures[request.model_spec.signature_name](**inputs)
        rows = len(inputs["text" if "text" in inputs else "prompt"])
        assert rows and {value.shape[0] for value in answer.values()} == {rows}


def test_compiled_signatures_are_left_to_servers_that_may_compile(classify):
    signatures = classify.task.signatures()
    signatures["serving_default_xla"] = signatures["serving_default"]
    requests = warmup.requests(classify.task, signatures, warmup.Plan(batch_sizes=(1,), lengths=(8,)))
    assert {request.signature for request in requests} == {"serving_default", "classify"}


def test_more_than_a_thousand_are_refused(classify):
    plan = warmup.Plan(batch_sizes=tuple(range(1, 402)), lengths=(8, 16, 32))
    with pytest.raises(ValueError, match="at most 1000 warm-up requests. The plan makes 2406"):
        warmup.requests(classify.task, classify.task.signatures(), plan)


def test_no_requests_make_no_file(tmp_path):
    warmup.write(tmp_path / "requests", "model", [])
    assert not (tmp_path / "requests").exists()


@pytest.mark.parametrize("bad", [{"batch_sizes": ()}, {"lengths": (0, 8)}])
def test_a_plan_without_shapes_is_refused(bad):
    with pytest.raises(ValueError, match="must hold whole numbers from 1"):
        warmup.Plan(**bad)
