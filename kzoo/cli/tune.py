"""``kzoo tune``: how the server should join a model's requests on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.output import print_table, say
from kzoo.cli.serve import Runner
from kzoo.errors import UserError


def tune(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|SAVED_MODEL", help="A bundle, or a SavedModel's folder.")],
    model: Annotated[str, typer.Option(metavar="NAME", help="Which model of a bundle that has several.")] = "",
    file: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="What to ask: a text a line, or, in a file .jsonl, an object of inputs a line. Without it, sentences "
            "of mixed length.",
        ),
    ] = "",
    clients: Annotated[int, typer.Option(min=1, help="How many ask at once.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of load for each setting.")] = 5.0,
    latency: Annotated[float, typer.Option(help="Milliseconds that the 99th percentile shall keep within.")] = 0.0,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC; without it, REST.")] = False,
    runner: Annotated[
        Runner, typer.Option(metavar="NAME", help="The server: auto, tensorflow_model_server, docker or embedded.")
    ] = "auto",
    plot: Annotated[str, typer.Option(metavar="PATH", help="Where to draw what was tried (SVG).")] = "tuning.svg",
    apply: Annotated[bool, typer.Option("--apply", help="Write the proposal into the bundle or SavedModel.")] = False,
) -> None:
    """Find batch sizes, time-out and threads for a model by load, and propose the best.

    Starts the server anew for every setting and puts it under the load of many clients, then of one. Changes one knob
    at a time: threads, the largest batch, the time-out. The first line is what the model has now.

    Nothing else should work on the machine meanwhile. The proposal is for this machine and these requests: tune where
    the model will be served, with requests as it will get them (--file). With --latency the fastest setting that keeps
    within it is proposed.

    \b
    Examples:
      kzoo tune bundles/reviews
      kzoo tune bundles/reviews --file reviews.txt --latency 50
      kzoo tune bundles/reviews --apply
    """
    from kzoo.serving import protos
    from kzoo.serving.tuning import apply as write
    from kzoo.serving.tuning import tune as search
    from kzoo.serving.tuning_plot import draw

    found = search(
        source,
        model=model or None,
        requests=_requests(Path(file), source, model) if file else None,
        clients=clients,
        seconds=seconds,
        limit=latency or None,
        grpc=grpc,
        runner=runner,
        say=say,
    )
    best, first = found.best, found.trials[0]
    assert best is not None
    columns = ("threads", "rows", "time-out, µs", "requests a second", "p50, ms", "p99, ms", "alone, ms", "failed", "")
    rows = [
        (
            one.setting.threads,
            one.setting.largest,
            one.setting.timeout,
            f"{one.rate:.1f}",
            f"{one.p50:.1f}",
            f"{one.p99:.1f}",
            f"{one.alone:.1f}",
            one.failed,
            "proposed" if one is best else "as it was" if one is first else "",
        )
        for one in found.trials
    ]
    print_table(columns, rows, right=columns[:-1])
    Path(plot).write_text(draw(found), encoding="utf-8")
    say(f"Drawn in {plot}.")
    if best is first:
        say(f"{found.model} is best served as it is on this machine.")
    else:
        rate = best.rate / first.rate
        say(f"Proposed: {rate:.2f} times the requests a second, p99 {best.p99:.1f} ms for {first.p99:.1f}.")
    print(f"# batching_params.pbtxt of {found.model}\n{protos.to_text(found.parameters())}")
    print(f"# batching.config\nnum_batch_threads {{ value: {best.setting.threads} }}")
    if apply:
        for path in write(source, found):
            say(f"Wrote {path}.")
        say("A server reads them when it starts.")
    else:
        say("The same command with --apply writes them into the folder.")


def _requests(file: Path, source: str, model: str) -> list[dict[str, list[Any]]]:
    """The requests of a file, of one row each."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}."
        ) from None
    if not lines:
        raise UserError(f"{file} is empty: a text a line is asked.")
    if file.suffix != ".jsonl":
        from kzoo.serving.tuning import input_of_text

        name = input_of_text(source, model or None)
        return [{name: [line]} for line in lines]
    made = []
    for number, line in enumerate(lines, 1):
        try:
            inputs = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file}, line {number}: not JSON ({error}).") from None
        if not isinstance(inputs, dict) or not inputs:
            raise UserError(
                f'{file}, line {number}: an object of inputs, as {{"text": "A film."}}. Received {line[:80]}.'
            )
        made.append({name: [value] for name, value in inputs.items()})
    return made
