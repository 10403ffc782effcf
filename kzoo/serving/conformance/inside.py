"""What can be seen from outside of warm-up, batching and metrics, with the help of the model ``probe``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from kzoo.serving.conformance.case import Case, case, get, post
from kzoo.serving.conformance.exchange import Reply, RestReply, Target
from kzoo.serving.conformance.judging import Answer, Page
from kzoo.serving.conformance.models import LARGEST_BATCH, SMALLEST_BATCH, WARMED
from kzoo.serving.conformance.result import FAILED, PASSED, SKIPPED, Result

PROBE = post("probe:predict", {"instances": ["a text"]})
METRICS = get("/monitoring/prometheus/metrics")
COUNTED = (
    ":tensorflow:serving:request_count",
    ":tensorflow:serving:request_latency_bucket",
    ":tensorflow:serving:runtime_latency_bucket",
    ":tensorflow:cc:saved_model:load_attempt_count",
)
BATCHED = (":tensorflow:serving:batching_session:queuing_latency_bucket",)
_CALLERS, _ROUNDS = 6, 20
_BATCHING = "batching"


def probes() -> list[Case]:
    """How many rows run together, and how many warm-up requests ran before the first request."""
    five = post("probe:predict", {"instances": ["a text"] * 5})
    return [
        case("warm-up", "ran before the first request", PROBE, _seen(1, 1), _seen(1, SMALLEST_BATCH), recorded=False),
        case(_BATCHING, "five rows", five, _seen(5, 5), _seen(5, LARGEST_BATCH), recorded=False),
    ]


def _seen(rows: int, batch: int) -> Answer:
    return Answer({"predictions": [{"batch": batch, "warmed": WARMED}] * rows})


def joined(target: Target) -> Result:
    """Whether requests that come together run together: the batch of one of them is larger than its own padding."""
    name = f"{_CALLERS} requests at once share a batch"
    largest = 0
    reply: Reply | None = None
    with ThreadPoolExecutor(_CALLERS) as callers:
        for _ in range(_ROUNDS):  # how they meet is a matter of time: one meeting in so many rounds is enough
            for reply in callers.map(target.send, [PROBE] * _CALLERS):
                if reply is None:
                    return Result(_BATCHING, name, SKIPPED, reason="no address of REST")
                largest = max(largest, batch_of(reply))
            if largest > SMALLEST_BATCH:
                return Result(_BATCHING, name, PASSED, recorded=False)
    return Result(
        _BATCHING,
        name,
        FAILED,
        reason=f"in {_ROUNDS} rounds no batch had more than {largest} rows",
        request=str(PROBE),
        expected=f"a batch of {LARGEST_BATCH} rows",
        received=str(reply),
        recorded=False,
    )


def batch_of(reply: Reply) -> int:
    """The rows that ran together, as ``probe`` tells; 0 where the reply does not say."""
    try:
        assert isinstance(reply, RestReply)
        return int(json.loads(reply.body)["predictions"][0]["batch"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0


def metrics(target: Target, *, batching: bool) -> list[Result]:
    """Whether Prometheus finds the metrics that the dashboard shows, once requests were answered."""
    area, name = "metrics", "names that the dashboard shows"
    reply = target.send(METRICS)
    if reply is None:
        return [Result(area, name, SKIPPED, reason="no address of REST")]
    assert isinstance(reply, RestReply)
    if reply.status == 404:
        return [Result(area, name, SKIPPED, reason="the server was started without --monitoring_config_file")]
    wanted = (*COUNTED, *(BATCHED if batching else ()))
    expected = Page(200, "text/plain", tuple(one.encode() for one in wanted))
    why = expected.difference(reply)
    if why:
        return [Result(area, name, FAILED, why, str(METRICS), str(expected), str(reply), recorded=False)]
    counted = b':tensorflow:serving:request_count{model_name="echo",status="OK"}'
    name_of_count = "requests are counted by model and code"
    found = Result(area, name, PASSED, recorded=False)
    if counted in reply.body:
        return [found, Result(area, name_of_count, PASSED, recorded=False)]
    told = (str(METRICS), counted.decode(), str(reply))
    return [found, Result(area, name_of_count, FAILED, "the page lacks that line's beginning", *told, recorded=False)]
