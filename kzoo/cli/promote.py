"""``kzoo promote`` and ``kzoo rollback``: which version a label of a bundle names, changed while servers answer."""

from __future__ import annotations

from typing import Annotated

import typer

from kzoo.cli.output import say
from kzoo.errors import UserError

BUNDLE = Annotated[str, typer.Argument(metavar="BUNDLE", help="A folder that `kzoo bundle` wrote.")]
MODEL = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in the bundle.")]
LABEL = Annotated[str, typer.Option(help="The label that moves.")]
REST = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="A server that follows the bundle, by its REST port; once for each server."),
]
GRPC = Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="The same, by its gRPC port.")]
OFFLINE = Annotated[bool, typer.Option("--offline", help="No server runs: wait for none.")]
TIMEOUT = Annotated[float, typer.Option(min=1, help="Seconds to wait for each server at each step.")]
CA = Annotated[str, typer.Option(metavar="PATH", help="Certificates to trust, for servers with TLS.")]


def promote(
    bundle: BUNDLE,
    model: MODEL,
    version: Annotated[int, typer.Argument(min=1, help="The version that the label shall name.")],
    label: LABEL = "stable",
    rest: REST = None,
    grpc: GRPC = None,
    offline: OFFLINE = False,
    keep_former: Annotated[
        bool, typer.Option("--keep-former", help="Keep the former version loaded, for a rollback without a load.")
    ] = False,
    timeout: TIMEOUT = 600.0,
    ca: CA = "",
) -> None:
    """Give a version a label: requests for the label go to it from then on.

    The version is loaded first, beside the one that has the label; once every server says AVAILABLE the label moves;
    then the old version may go. No request for the label fails meanwhile. A version that does not load changes nothing.
    An interrupted promotion is ended by repeating the command. Without --rest, --grpc or --offline the server at
    127.0.0.1:8501 is asked.

    \b
    Examples:
      kzoo promote bundles/reviews reviews 2
      kzoo promote bundles/reviews reviews 3 --label canary --rest localhost:8501
      kzoo query localhost:8501 --model reviews --label stable "A film to remember."
    """
    from kzoo.serving.promotion import promote as move

    former = move(
        bundle,
        model,
        version,
        label=label,
        servers=addresses(rest, grpc),
        offline=offline,
        keep_former=keep_former,
        timeout=timeout,
        ca=ca or None,
        say=say,
    )
    if former != version:
        say(f"{label} of {model} names version {version}{'' if former is None else f', before that {former}'}.")
    say(f"Next: kzoo versions {bundle}")


def rollback(
    bundle: BUNDLE,
    model: MODEL,
    label: LABEL = "stable",
    rest: REST = None,
    grpc: GRPC = None,
    offline: OFFLINE = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the label away instead.")] = False,
    timeout: TIMEOUT = 600.0,
    ca: CA = "",
) -> None:
    """Give a label back to the version that had it before.

    As careful as a promotion: the former version is loaded first where it was not. A promotion that was interrupted is
    taken back.

    \b
    Examples:
      kzoo rollback bundles/reviews reviews
      kzoo rollback bundles/reviews reviews --label canary --remove
    """
    from kzoo.serving import promotion

    servers = addresses(rest, grpc)
    if remove:
        promotion.remove_label(bundle, model, label)
        say(f"{model} has no label {label} any more.")
        return
    version = promotion.rollback(
        bundle,
        model,
        label=label,
        servers=servers,
        offline=offline,
        timeout=timeout,
        ca=ca or None,
        say=say,
    )
    say(f"{label} of {model} names version {version}.")
    say(f"Next: kzoo versions {bundle}")


def addresses(rest: list[str] | None, grpc: list[str] | None) -> list[str]:
    """Returns the servers as a client takes them; a scheme that was given stays."""
    found = [one if "://" in one else f"http://{one}" for one in rest or []]
    found += [one if "://" in one else f"grpc://{one}" for one in grpc or []]
    wrong = [one for one in rest or [] if one.startswith("grpc")]
    if wrong:
        raise UserError(f"--rest takes REST addresses. Received {wrong[0]}: give it with --grpc.")
    return found
