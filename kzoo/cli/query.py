"""``kzoo query``: runs a bundle on this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def query(
    bundle: Annotated[str, typer.Argument(metavar="ADDRESS", help="A folder that `kzoo bundle` wrote.")],
) -> None:
    """Serve a bundle."""
