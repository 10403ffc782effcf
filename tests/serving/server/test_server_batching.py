"""Batching: what runs together, how it is padded and cut, and what each caller gets back."""

import threading
import time

import numpy as np
import pytest

from kzoo.serving import protos
from kzoo.serving.server.batch_scheduler import BatchingOptions, BatchScheduler
from kzoo.serving.server.batching import BatchingRunner
from kzoo.serving.server.errors import Code, StatusError
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.tensors import strings


class Doubling:
    """Stands for a session: doubles x, and remembers what it was fed. ``gate`` holds it back."""

    def __init__(self):
        self.fed = []
        self.timeouts = []
        self.gate = threading.Event()
        self.gate.set()
        self.error = None

    def run(self, feeds, fetches, timeout=None):
        assert self.gate.wait(30)
        self.fed.append(feeds["x"].tolist())
        self.timeouts.append(timeout)
        if self.error:
            raise self.error
        outputs = {
            "y": feeds["x"] * 2,
            "z": feeds["x"] + 1,
            "scalar": np.float32(0).reshape(()),
            "short": feeds["x"][:1],
        }
        return [outputs[name] for name in fetches]


@pytest.fixture
def make():
    """Makes a runner over a stand-in: ``make(max_batch_size=4, ...)``."""
    schedulers = []

    def build(**fields):
        scheduler = BatchScheduler(fields.pop("threads", 2))
        schedulers.append(scheduler)
        session = Doubling()
        fields.setdefault("max_execution_batch_size", fields.get("max_batch_size", 1000))
        return session, BatchingRunner(session, scheduler, BatchingOptions(**fields), Metrics())

    yield build
    for scheduler in schedulers:
        scheduler.stop(10)


def _together(runner, *rows, fetches=("y",), timeout=None):
    """Ask for each of these at the same moment; what each got, in order."""
    answers = [None] * len(rows)

    def ask(index):
        try:
            answers[index] = runner.run({"x": np.array(rows[index], np.float32)}, fetches, timeout)
        except StatusError as error:
            answers[index] = error

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(rows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return answers


def test_requests_within_the_timeout_run_as_one(make):
    session, runner = make(max_batch_size=6, timeout=5.0)
    answers = _together(runner, [1, 2], [3, 4], [5, 6])
    assert len(session.fed) == 1 and sorted(session.fed[0]) == [1, 2, 3, 4, 5, 6]
    assert [answer[0].tolist() for answer in answers] == [[2, 4], [6, 8], [10, 12]]


def test_a_lone_request_waits_no_longer_than_the_timeout(make):
    session, runner = make(max_batch_size=100, timeout=0.05)
    assert runner.run({"x": np.array([1], np.float32)}, ("y",))[0].tolist() == [2]
    session, runner = make(max_batch_size=1, timeout=60.0)
    assert runner.run({"x": np.array([1], np.float32)}, ("y",))[0].tolist() == [2]  # full, so at once


def test_padding_repeats_a_real_row_and_is_not_returned(make):
    session, runner = make(max_batch_size=8, timeout=0.0, allowed_batch_sizes=(4, 8))
    assert runner.run({"x": np.array([7, 9], np.float32)}, ("y",))[0].tolist() == [14, 18]
    assert session.fed == [[7, 9, 7, 7]]
    assert runner.run({"x": np.empty(0, np.float32)}, ("y",))[0].tolist() == []


def test_each_request_gets_the_outputs_it_asked_for_in_its_order(make):
    _, runner = make(max_batch_size=4, timeout=0.0)
    z, y, again = runner.run({"x": np.array([3], np.float32)}, ("z", "y", "z"))
    assert (z.tolist(), y.tolist(), again.tolist()) == ([4], [6], [4])


def test_a_request_too_large_is_refused_or_cut(make):
    _, runner = make(max_batch_size=4)
    with pytest.raises(StatusError, match="Task size 9 is larger than maximum input batch size 4") as caught:
        runner.run({"x": np.arange(9, dtype=np.float32)}, ("y",))
    assert caught.value.code is Code.INVALID_ARGUMENT
    session, runner = make(max_batch_size=100, max_execution_batch_size=4, split_large_batches=True, timeout=0.0)
    answer = runner.run({"x": np.arange(9, dtype=np.float32)}, ("y",))[0]
    assert answer.tolist() == [2 * number for number in range(9)]
    assert sorted(map(len, session.fed)) == [1, 4, 4]
    assert runner.run({"x": np.arange(0, dtype=np.float32)}, ("y",))[0].tolist() == []  # no rows are one piece


def test_a_large_request_first_fills_the_open_batch(make):
    session, runner = make(max_batch_size=100, max_execution_batch_size=4, split_large_batches=True, timeout=0.3)
    answers = []
    small = threading.Thread(target=lambda: answers.append(runner.run({"x": np.array([50], np.float32)}, ("y",))))
    small.start()
    time.sleep(0.1)
    assert runner.run({"x": np.arange(5, dtype=np.float32)}, ("y",))[0].tolist() == [0, 2, 4, 6, 8]
    small.join(30)
    assert answers[0][0].tolist() == [100]
    assert sorted(session.fed) == [[3, 4], [50, 0, 1, 2]]


def test_an_error_reaches_everyone_in_the_batch_and_the_next_one_runs(make):
    session, runner = make(max_batch_size=2, timeout=5.0)
    session.error = StatusError(Code.INTERNAL, "broken")
    assert [str(answer) for answer in _together(runner, [1], [2])] == ["INTERNAL: broken"] * 2
    session.error = ZeroDivisionError("by a bug")
    assert [str(answer) for answer in _together(runner, [1], [2])] == ["INTERNAL: ZeroDivisionError: by a bug"] * 2
    session.error = None
    assert _together(runner, [1], [2])[0][0].tolist() == [2]


def test_a_full_queue_refuses(make):
    session, runner = make(max_batch_size=1, max_enqueued_batches=2, threads=1)
    session.gate.clear()
    waiting = []
    for number in range(3):  # one at work, two enqueued
        waiting.append(threading.Thread(target=_together, args=(runner, [number])))
        waiting[-1].start()
        time.sleep(0.1)
    with pytest.raises(
        StatusError, match="is full; currently 2 batches enqueued and max_enqueued_batches is 2"
    ) as caught:
        runner.run({"x": np.array([9], np.float32)}, ("y",))
    assert caught.value.code is Code.UNAVAILABLE
    session.gate.set()
    for thread in waiting:
        thread.join(30)
    assert sorted(session.fed) == [[0], [1], [2]]


def test_time_spent_in_the_queue_counts(make):
    session, runner = make(max_batch_size=1, threads=1)
    session.gate.clear()
    first = threading.Thread(target=_together, args=(runner, [1]))
    first.start()
    time.sleep(0.1)
    late = []
    second = threading.Thread(target=lambda: late.extend(_together(runner, [2], timeout=0.05)))
    second.start()
    time.sleep(0.2)
    session.gate.set()
    first.join(30)
    second.join(30)
    assert str(late[0]) == "RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue"
    assert session.fed == [[1]]
    assert _together(runner, [3], timeout=9.0)[0][0].tolist() == [6]
    assert 0 < session.timeouts[-1] <= 9.0


def test_the_most_patient_request_sets_the_time(make):
    session, runner = make(max_batch_size=2, timeout=5.0)
    answers = []
    threads = [
        threading.Thread(target=lambda t=t: answers.append(_together(runner, [1], timeout=t))) for t in (1.0, None)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert session.timeouts == [None]


@pytest.mark.parametrize(
    "feeds, message",
    [
        ({"x": np.float32(1).reshape(())}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.ones(2), "w": np.ones(3)}, "Batching Run() input tensors must have equal 0th-dimension size"),
        ({}, "Batching Run() must have at least one input tensor"),
    ],
)
def test_inputs_that_are_no_rows_are_refused(make, feeds, message):
    _, runner = make()
    with pytest.raises(StatusError) as caught:
        runner.run(feeds, ("y",))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize("name, message", [("scalar", "has 0 dimensions"), ("short", "0th dimension does not equal")])
def test_outputs_that_are_no_rows_are_told(make, name, message):
    _, runner = make()
    with pytest.raises(StatusError, match=message) as caught:
        runner.run({"x": np.ones(3, np.float32)}, (name,))
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_unlike_shapes_are_told_or_padded_with_the_first_element(make):
    _, runner = make(max_batch_size=2, timeout=5.0)
    answers = _together(runner, [[1, 2]], [[3, 4, 5]])
    assert all("from different tasks have different shapes and padding is turned off" in str(a) for a in answers)
    session, runner = make(max_batch_size=2, timeout=5.0, pad_variable_length_inputs=True)
    first, second = _together(runner, [[1, 2]], [[3, 4, 5]])
    assert first[0].tolist() == [[2, 4, 2]] and second[0].tolist() == [[6, 8, 10]]


def test_strings_are_merged_too(make):
    class Echo:
        def run(self, feeds, fetches, timeout=None):
            return [feeds["x"]]

    _, runner = make(max_batch_size=4, timeout=0.0, allowed_batch_sizes=(4,))
    runner._runner = Echo()
    assert runner.run({"x": strings(["a", "é"])}, ("x",))[0].tolist() == [b"a", "é".encode()]


def test_parameters_become_options_with_the_genuine_defaults():
    empty = BatchingOptions.from_proto(protos.BatchingParameters())
    assert (empty.max_batch_size, empty.timeout, empty.max_enqueued_batches) == (1000, 0.0, 10)
    assert empty.threads >= 1 and empty.padded_size(3) == 3
    full = BatchingOptions.from_proto(
        protos.parse_text(
            "max_batch_size { value: 8 } batch_timeout_micros { value: 1500 } num_batch_threads { value: 3 } "
            "allowed_batch_sizes: 2 allowed_batch_sizes: 8 pad_variable_length_inputs: true "
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2 } "
            'thread_pool_name { value: "pool" }',
            protos.BatchingParameters,
        )
    )
    assert (full.timeout, full.threads, full.padded_size(3), full.max_execution_batch_size) == (0.0015, 3, 8, 2)
    with pytest.raises(StatusError, match="Last entry in allowed_batch_sizes must match max_batch_size"):
        BatchingOptions.from_proto(protos.BatchingParameters(allowed_batch_sizes=[3]))


# Over a running server


def test_concurrent_requests_share_a_run(ask, batching_server):
    before = batching_server.metrics._batches.values.get((), 0)
    answers = {}

    def one(number):
        body = {"signature_name": "same", "instances": [f"text {number}"]}
        answers[number] = ask(batching_server, "POST", "/v1/models/words:predict", body).json

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: {"predictions": [f"text {number}"]} for number in range(8)}
    assert batching_server.metrics._batches.values[()] - before < 8


def test_a_request_that_cannot_be_batched_is_refused(ask, batching_server):
    path = "/v1/models/words:predict"
    large = ask(batching_server, "POST", path, {"instances": ["a"] * 5})
    assert (large.status, large.error) == (400, "Task size 5 is larger than maximum input batch size 4")
    scalar = ask(batching_server, "POST", path, {"inputs": "a"})
    assert (scalar.status, scalar.error) == (400, "Batching Run() input tensors must have at least one dimension")
    assert ask(batching_server, "POST", path, {"inputs": []}).json == {
        "outputs": {"mark": [], "shout": [], "words": []}
    }


def test_a_wrong_type_does_not_spoil_the_batch(batching_stubs):
    import grpc

    with pytest.raises(grpc.RpcError) as caught:
        batching_stubs.predict("words", text=np.ones(1, np.float32))
    assert caught.value.details() == "Expects arg[0] to be string but float is provided"
    assert batching_stubs.predict("words", text=strings(["a"]))["words"].tolist() == [1]


def test_a_default_joins_requests_of_one_row_only(batching_stubs):
    import grpc

    assert batching_stubs.predict("words", "join", text=strings(["a"]))["joined"].tolist() == [b"a!"]
    with pytest.raises(grpc.RpcError) as caught:
        batching_stubs.predict("words", "join", text=strings(["a", "b"]))
    assert caught.value.details() == "Batching Run() input tensors must have equal 0th-dimension size"
