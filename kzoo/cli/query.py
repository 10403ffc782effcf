"""``kzoo query``: asks a running server, kzoo's or TensorFlow Serving, here or elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzoo.cli.predict import beside, gather, inputs_of, show
from kzoo.errors import UserError

if TYPE_CHECKING:
    from kzoo.serving.client import Client


def query(
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="host:port or http://host:port for REST, grpc://host:port for gRPC."),
    ],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What to ask about.")] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model's name on the server.")] = "",
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="For a model of pairs: the second text; once for each TEXT."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="For a model that answers questions: the passage; once for all TEXTs or once for each."
        ),
    ] = None,
    file: Annotated[str, typer.Option(metavar="PATH", help="A file with one text a line; - for standard input.")] = "",
    signature: Annotated[str, typer.Option(metavar="NAME", help="Another entry of the model, such as generate.")] = "",
    knobs: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A further input, the same for all texts.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="A version; by default the newest.")] = None,
    label: Annotated[str, typer.Option(help="A version's label instead of its number.")] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 60.0,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS; https:// and grpcs:// say the same.")] = False,
    ca: Annotated[str, typer.Option(metavar="PATH", help="TLS, trusting these PEM certificates alone.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a text, for programs.")] = False,
) -> None:
    """Ask a model server about texts, over REST or gRPC.

    It may be kzoo's own server or TensorFlow Serving. Knobs (--set) may be left out over gRPC; REST wants them all.

    \b
    Examples:
      kzoo query localhost:8501 --model reviews "A film to remember."
      kzoo query grpc://localhost:8500 --model reviews --file texts.txt
      kzoo query grpc://localhost:8500 --model story "Once" \\
          --signature generate --set temperature=0.8 --set max_new_tokens=40
      kzoo query grpc://serving.example:8500 --ca certificate.pem --model reviews "A film to remember."
      kzoo query localhost:8501 --model answers "Who serves?" --context "The zoo serves models."
    """
    if not model:
        raise UserError("Name the model with --model; `kzoo serve` prints the names of those it serves.")
    texts = gather(texts, file)
    given = beside(texts, pair=pair, context=context)
    from kzoo.serving.client import connect

    client = connect(secured(address) if tls else address, timeout=timeout, ca=ca or None)
    try:
        chosen: dict[str, Any] = {"version": version, "label": label or None}
        wanted = text_inputs(client, model, signature, chosen)
        inputs = {**inputs_of(model, wanted, given), **spread(knobs or [], len(texts))}
        outputs = client.predict(model, inputs, signature=signature or None, **chosen)
    finally:
        client.close()
    rows = {name: array.tolist() for name, array in outputs.items()}
    answers = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    show(texts, answers, json=json or not sys.stdout.isatty())


def secured(address: str) -> str:
    """Returns the address with the scheme that speaks TLS."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return f"https://{address}"
    return f"{scheme if scheme.endswith('s') else f'{scheme}s'}://{rest}"


def text_inputs(client: Client, model: str, signature: str, chosen: dict[str, Any]) -> list[str]:
    """Returns the names of the signature's inputs for texts, as the server describes them, ``context`` last."""
    signatures = client.metadata(model, **chosen)
    name = signature or "serving_default"
    if name not in signatures:
        raise UserError(f"{model} has no signature {name}; it has {', '.join(signatures)}.")
    inputs = signatures[name]["inputs"]
    strings = [key for key, entry in inputs.items() if entry["dtype"] == "string"]
    if len(strings) == 1 or set(strings) in ({"text", "text_pair"}, {"question", "context"}):
        return sorted(strings, key=lambda key: key in ("text_pair", "context"))
    described = ", ".join(f"{key} ({entry['dtype']})" for key, entry in inputs.items())
    raise UserError(
        f"kzoo query asks with one text a row, a pair, or a question and its passage; {model}'s signature {name} takes "
        f"{described}."
    )


def spread(knobs: list[str], count: int) -> dict[str, list[Any]]:
    """Returns each ``KEY=VALUE`` as a list of one value a row: a number where it is one."""
    inputs = {}
    for knob in knobs:
        key, equals, value = knob.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes KEY=VALUE, as in temperature=0.8. Received: {knob!r}.")
        inputs[key] = [_number(value)] * count
    return inputs


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
