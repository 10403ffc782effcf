"""The server's whole config replaced while it runs: versions and models go and come back, wrong configs change nothing.

Needs the folder of the models as the server sees it. The config as it was is put back at the end, whatever happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from kzoo.serving import protos, stubs
from kzoo.serving.conformance.case import about, post
from kzoo.serving.conformance.exchange import GrpcRequest, Request, Target
from kzoo.serving.conformance.judging import Answer, Expectation, Failure, Message, Refusal
from kzoo.serving.conformance.models import models_config
from kzoo.serving.conformance.predict_cases import rows
from kzoo.serving.conformance.result import FAILED, PASSED, SKIPPED, Result

AREA = "model reload"
_PATIENCE = 60.0
_HI = {"instances": ["hi"]}
_DONE = Message({"status": {}})
_SUM = Answer({"predictions": [3.0]})


def reloads(target: Target, base: str) -> Iterator[Result]:
    """The checks, in order.

    Args:
        target: the server.
        base: the folder of the models as it sees it; empty: nothing is reloaded.
    """
    whole = models_config(base)
    if not base:
        yield Result(AREA, "all", SKIPPED, reason="the models' folder was not named (--models)")
        return
    if target.send(_reload(whole)) is None:
        yield Result(AREA, "all", SKIPPED, reason="no address of gRPC")
        return
    newest, first = post("echo:predict", _HI), rows("hi", version=1)
    try:
        for name, text in (
            ("a relative path is refused", models_config("models")),
            ("a name twice is refused", models_config(base, others=("adder", "probe", "adder"))),
            ("no config is refused", ""),
        ):
            yield _check(target, name, _reload(text), Failure("INVALID_ARGUMENT", None))
        yield _check(target, "and what was served is served", newest, rows("hi"))

        yield _check(target, "fewer", _reload(models_config(base, echo=(1,), others=("probe",))), _DONE)
        yield _check(target, "the version that is left answers", newest, first, within=_PATIENCE)
        gone = "Servable not found for request: Specific(echo, 2)"
        yield _check(target, "the version that is gone", post("echo/versions/2:predict", _HI), Refusal(404, gone))
        no_label = "Unrecognized servable version label: canary"
        yield _check(target, "the label that is gone", post("echo/labels/canary:predict", _HI), Refusal(400, no_label))
        no_model = "Servable not found for request: Latest(adder)"
        yield _check(
            target,
            "the model that is gone",
            post("adder:predict", {"instances": [[1, 2]]}),
            Refusal(404, no_model),
            within=_PATIENCE,
        )
        yield _check(
            target,
            "its status",
            about("GetModelStatus", "adder"),
            _ended(error=False),
            within=_PATIENCE,
        )

        yield _check(target, "and back", _reload(whole), _DONE)
        yield _check(target, "the newest version answers again", newest, rows("hi"), within=_PATIENCE)
        yield _check(target, "the label is there again", post("echo/labels/canary:predict", _HI), rows("hi"))

        spoiled = models_config(base, others=("adder", "probe", "spoiled"))
        yield _check(target, "a model whose warm-up fails", _reload(spoiled), Failure("UNKNOWN", None))
        yield _check(
            target,
            "its version ends with an error",
            about("GetModelStatus", "spoiled"),
            _ended(error=True),
            within=_PATIENCE,
        )
        yield _check(target, "the others answer", newest, rows("hi"))
    finally:
        target.send(_reload(whole))
    yield _check(target, "all as it was", post("adder:predict", {"instances": [[1, 2]]}), _SUM, within=_PATIENCE)


def _reload(text: str) -> GrpcRequest:
    request = stubs.load("model_management_pb2").ReloadConfigRequest()
    if text:
        request.config.CopyFrom(protos.parse_text(text, protos.ModelServerConfig))
    return GrpcRequest("HandleReloadConfigRequest", request)


def _ended(*, error: bool) -> Message:
    """A status of one version that has ended, with an error's code or without one."""

    def seen(reply: dict) -> list[object]:
        return [
            [one["version"], one["state"], bool(one["status"].get("error_code"))]
            for one in reply["model_version_status"]
        ]

    return Message([["1", "END", error]], seen=seen)


def _check(target: Target, name: str, request: Request, expected: Expectation, *, within: float = 0.0) -> Result:
    """One check; with ``within`` it is asked again until the reply is right or so many seconds have passed."""
    deadline = time.monotonic() + within
    while True:
        reply = target.send(request)
        if reply is None:
            return Result(AREA, name, SKIPPED, reason="no address of REST", recorded=False)
        why = expected.difference(reply)
        if not why:
            return Result(AREA, name, PASSED, recorded=False)
        if time.monotonic() >= deadline:
            return Result(AREA, name, FAILED, why, str(request), str(expected), str(reply), recorded=False)
        time.sleep(0.2)
