"""``kzoo versions``: what a bundle holds, and which labels point where."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from kzoo.cli.output import count, print_json, print_table, say
from kzoo.cli.promote import BUNDLE, CA, GRPC, REST, addresses
from kzoo.errors import UserError


def versions(
    bundle: BUNDLE,
    rest: REST = None,
    grpc: GRPC = None,
    ca: CA = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a version, for programs.")] = False,
) -> None:
    """List a bundle's versions, and the labels that name them.

    `loads` says whether the model's version policy has a server load it. With --rest or --grpc the state of each
    version on those servers is asked too.

    \b
    Examples:
      kzoo versions bundles/reviews
      kzoo versions bundles/reviews --rest localhost:8501
    """
    from kzoo.serving import inventory

    found = inventory.entries(bundle)
    servers = addresses(rest, grpc)
    states = {address: _states(address, {one.model for one in found}, ca) for address in servers}
    if json:
        for one in found:
            extra = {"states": {address: told.get((one.model, one.version)) for address, told in states.items()}}
            print_json(dataclasses.asdict(one) | (extra if servers else {}))
        return
    print_table(
        [
            *("model", "version", "size", "placed (UTC)", "policy", "loads", "labels (since)"),
            *(address.removeprefix("http://") for address in servers),
        ],
        [
            (
                one.model,
                one.version,
                f"{count(one.size).replace(' ', '')}B",
                to_the_minute(one.placed),
                one.policy,
                "yes" if one.is_loaded else "-",
                ", ".join(_since(label, when) for label, when in one.labels.items()) or "-",
                *(told.get((one.model, one.version), "-") for told in states.values()),
            )
            for one in found
        ],
        right=["version", "size"],
        tight=False,
    )
    move = inventory.pending(bundle)
    if move is not None:
        say(
            f"A move of the label {move.label} of {move.model} to version {move.target} was interrupted: repeat the "
            f"{move.command}, or take a promotion back with kzoo rollback."
        )


def to_the_minute(when: str) -> str:
    """``2026-11-22T12:17:18+00:00`` as a person reads it: ``2026-11-22 12:17``."""
    return when[:16].replace("T", " ")


def _since(label: str, when: str | None) -> str:
    return f"{label} ({to_the_minute(when)})" if when else label


def _states(address: str, models: set[str], ca: str) -> dict[Any, str]:
    """Model and version to its state on a server."""
    from kzoo.serving.client import ReplyError, connect

    client = connect(address, timeout=10.0, ca=ca or None)
    told = {}
    try:
        for model in models:
            try:
                told.update({(model, version): state for version, state in client.status(model).items()})
            except ReplyError:
                continue  # this server does not know the model
    finally:
        client.close()
    if not told:
        raise UserError(f"The server at {address} serves none of the bundle's models.")
    return told
