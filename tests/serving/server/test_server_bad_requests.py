"""Hundreds of bad requests, generated: the server refuses each in words and goes on answering the good ones."""

import importlib.util
import sys
from pathlib import Path

import pytest

from kzoo.serving import protos
from kzoo.serving.client import connect
from kzoo.serving.server import Server

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LIMIT = 1 << 18


def _load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def limited(models):
    batching = protos.parse_text(
        "max_batch_size { value: 64 } batch_timeout_micros { value: 500 }", protos.BatchingParameters
    )
    with Server(
        models / "models.config", rest_port=0, grpc_port=0, allow_version_labels_for_unavailable_models=True,
        poll_seconds=0, max_request_bytes=LIMIT, receive_timeout=0.5, rest_timeout=5.0, batching=batching,
    ) as server:  # fmt: skip
        yield server


def _good(server, leave_out):
    bad_requests = _load("bad_requests")
    client = connect(server.rest_address)
    try:
        return [
            one
            for model in ("words", "numbers")
            for one in bad_requests.good_requests(model, client.metadata(model), leave_out)
        ]
    finally:
        client.close()


def test_bad_requests_are_refused_in_words_and_good_ones_answered_between(limited):
    good = _good(limited, ("sleep", "half", "to_half", "compiled", "mean", "uneven"))
    host, _, rest_port = limited.rest_address.removeprefix("http://").partition(":")
    grpc_port = int(limited.grpc_address.partition(":")[2])
    report = _load("bad_replies").provoke(
        (host, int(rest_port)), (host, grpc_port), good, count=600, seed=5, most_bytes=LIMIT, good_every=20
    )
    assert not report.problems, "\n".join(report.problems)
    assert report.asked == 600 and report.good == 30
    assert len({kind for kind, _ in report.replies}) >= 24
