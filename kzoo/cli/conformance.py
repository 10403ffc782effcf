"""``kzoo conformance``: whether a server answers as TensorFlow Serving does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kzoo.cli.output import print_json, print_table, say
from kzoo.errors import UserError
from kzoo.exit_codes import FOUND

app = typer.Typer()


def conformance(
    context: typer.Context,
    rest: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server's REST port.")] = "",
    grpc: Annotated[str, typer.Option(metavar="HOST:PORT", help="Its gRPC port.")] = "",
    models: Annotated[
        str, typer.Option(metavar="FOLDER", help="The models' folder as the server sees it: checks reloading too.")
    ] = "",
    batching: Annotated[
        bool | None,
        typer.Option("--batching/--no-batching", help="How the server was started; it is found out where not said."),
    ] = None,
    ca: Annotated[str, typer.Option(metavar="PATH", help="TLS, trusting the certificates of this PEM file.")] = "",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a reply may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Hold a server against the genuine TensorFlow Serving 2.19.1.

    Any server of its REST and gRPC: a tensorflow_model_server of whatever version, kzoo's own, or another. It must
    serve the suite's models, which `kzoo conformance models FOLDER` writes, with the lines that start a server. Over a
    hundred requests, good and bad, are held to the status, the code, the values and the words of the error.

    Ends with 0 when every reply is as it must be, with 1 when one is not.

    \b
    Examples:
      kzoo conformance models conformance
      kzoo conformance --rest localhost:8501 --grpc localhost:8500 --models $PWD/conformance
      kzoo conformance --rest localhost:8501 --json > report.json
    """
    if context.invoked_subcommand is not None:
        return
    if not rest and not grpc:
        raise UserError("A server is asked by --rest HOST:PORT, --grpc HOST:PORT or both. Received neither.")
    from kzoo.serving.conformance.exchange import LiveServer
    from kzoo.serving.conformance.suite import run

    certificates = None
    if ca:
        from kzoo.serving.client import pem

        certificates = pem(ca)
    server = LiveServer(rest, grpc, ca=certificates, timeout=timeout)
    try:
        report = run(server, batching=batching, models=models)
    finally:
        server.close()
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    if not report.as_dict()["conforms"]:
        raise typer.Exit(FOUND)


def write_models(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A new folder for models and configs.")],
    base: Annotated[
        str, typer.Option(metavar="PATH", help="The folder as the server will see it, where that is elsewhere.")
    ] = "",
) -> None:
    """Write the models that the suite asks, their configs, and say how to start a server over them.

    \b
    Examples:
      kzoo conformance models conformance
      kzoo conformance models conformance --base /models
    """
    from kzoo.serving.conformance import models

    path = models.write_models(folder, base=base)
    seen = base.rstrip("/") or str(path)
    flags = [
        "--port=8500 --rest_api_port=8501",
        f"--model_config_file={seen}/{models.MODELS_CONFIG}",
        f"--monitoring_config_file={seen}/{models.MONITORING_CONFIG}",
        "--allow_version_labels_for_unavailable_models=true --max_num_load_retries=0",
    ]
    more = f"--enable_batching=true --batching_parameters_file={seen}/{models.BATCHING_CONFIG}"
    say("Start a server with the lines")
    say()
    for program in ("tensorflow_model_server", "python -m kzoo.serving.server"):
        say(f"  {program} {' '.join(flags)}")
    say()
    say(f"and once more with {more}; each time ask it:")
    say()
    say(f"  kzoo conformance --rest localhost:8501 --grpc localhost:8500 --models {seen}")
    say()
    print(path)


def _print(report: Any) -> None:
    areas = report.areas()
    print_table(
        ("area", "passed", "failed", "skipped"),
        [(area, *(counts[one] or "-" for one in ("passed", "failed", "skipped"))) for area, counts in areas.items()],
        right=("passed", "failed", "skipped"),
    )
    for one in report.of("failed"):
        known = "recorded from the genuine server" if one.recorded else "by the genuine server's source"
        print(f"FAILED {one.area}: {one.name}: {one.reason}")
        print(f"  request   {one.request}")
        print(f"  expected  {one.expected} ({known})")
        print(f"  received  {one.received}")
    for reason in dict.fromkeys(one.reason for one in report.of("skipped")):
        say(f"{sum(one.reason == reason for one in report.of('skipped'))} skipped: {reason}.")
    failed, passed = len(report.of("failed")), len(report.of("passed"))
    how = "with batching" if report.batching else "without batching"
    if failed:
        say(f"The server, started {how}, answers {failed} of {failed + passed} requests otherwise than 2.19.1.")
    else:
        say(f"The server, started {how}, answers all {passed} requests as TensorFlow Serving 2.19.1 does.")
