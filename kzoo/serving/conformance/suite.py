"""The whole suite, put to a server."""

from __future__ import annotations

from kzoo.errors import UserError
from kzoo.serving.conformance import example_cases, grpc_cases, information_cases, inside, predict_cases, refusal_cases
from kzoo.serving.conformance.case import BATCHING, PLAIN, Case, predict
from kzoo.serving.conformance.exchange import GrpcReply, RestReply, RestRequest, Target
from kzoo.serving.conformance.models import SMALLEST_BATCH
from kzoo.serving.conformance.reload import reloads
from kzoo.serving.conformance.result import FAILED, PASSED, SKIPPED, Report, Result
from kzoo.serving.tensors import to_array


def cases() -> list[Case]:
    """Every request that changes nothing, by area."""
    return [
        *predict_cases.formats(),
        *predict_cases.numbers(),
        *refusal_cases.refusals(),
        *refusal_cases.bodies(),
        *grpc_cases.calls(),
        *example_cases.examples(),
        *information_cases.information(),
        *inside.probes(),
    ]


def run(target: Target, *, batching: bool | None = None, models: str = "") -> Report:
    """Puts all checks to a server that serves the suite's models.

    Args:
        target: the server.
        batching: whether it was started with the suite's batching.config; by default it is found out.
        models: the models' folder as the server sees it, for the checks of reloading; empty leaves them out.

    Raises:
        UserError: nobody answers, or the server does not serve the suite's models.
    """
    if batching is None:
        batching = is_batching(target)
    report = Report(batching)
    profile = BATCHING if batching else PLAIN
    report.results += [judge(one, target, profile) for one in cases()]
    if batching:
        report.results.append(inside.joined(target))
    report.results += inside.metrics(target, batching=batching)
    report.results += reloads(target, models)
    return report


def judge(one: Case, target: Target, profile: str) -> Result:
    """One case's result."""
    expected = one.expected(profile)
    if expected is None:
        reason = "what the genuine server answers with batching is not known"
        return Result(one.area, one.name, SKIPPED, reason, recorded=one.recorded)
    reply = target.send(one.request)
    if reply is None:
        api = "REST" if isinstance(one.request, RestRequest) else "gRPC"
        return Result(one.area, one.name, SKIPPED, f"no address of {api}", recorded=one.recorded)
    why = expected.difference(reply)
    if not why:
        return Result(one.area, one.name, PASSED, recorded=one.recorded)
    return Result(one.area, one.name, FAILED, why, str(one.request), str(expected), str(reply), one.recorded)


def is_batching(target: Target) -> bool:
    """Whether the server pads one row to the smallest batch of batching.config."""
    reply = target.send(inside.PROBE)
    batch = 0
    if isinstance(reply, RestReply):
        batch = inside.batch_of(reply)
    elif reply is None:
        reply = target.send(predict("probe", text=["a text"]))
        if isinstance(reply, GrpcReply) and reply.code == "OK":
            batch = int(to_array(reply.message.outputs["batch"])[0])
    if reply is None:
        raise UserError("A server is asked by an address of REST or of gRPC. Received neither.")
    if batch not in (1, SMALLEST_BATCH):
        raise UserError(
            "The suite asks its own models, with its own batching.config or none, and this server has others: write "
            "them with `kzoo conformance models FOLDER` and start the server as that says. Asked for the model probe, "
            f"it answered: {reply}"
        )
    return batch == SMALLEST_BATCH
