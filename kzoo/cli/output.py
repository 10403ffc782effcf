"""How the command line speaks: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def say(text: str = "") -> None:
    """Prints a line for a person (progress, hints) on standard error, so that answers can be piped."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Prints ``value`` as one line of JSON on standard output: text stays readable, floats have 7 digits."""
    print(json.dumps(_plain(value), ensure_ascii=False), flush=True)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), tight: bool = False
) -> None:
    """Prints a table on standard output; columns in ``right`` are aligned to the right, ``tight`` ones closely set."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    padding, edge = ((0, 0), False) if tight else ((0, 1), True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=padding, show_edge=edge)
    for name in columns:
        figures = name in right  # words may go on in the next line, figures never
        table.add_column(name, justify="right" if figures else "left", overflow="fold", no_wrap=figures)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:  # a pipe has no width: never cut or fold what a program reads
        console = Console(width=max(400, console.measure(table).maximum))
        table.expand = False
    console.print(table)


def duration(seconds: float) -> str:
    """Returns seconds as a person writes them: ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def count(number: int) -> str:
    """Returns a count of parameters or bytes in thousands, millions or milliards: ``22.7 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _plain(value: Any) -> Any:
    """Turns an answer into what JSON knows; float32 has no more than 7 digits, so no more are shown."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value if value is None or isinstance(value, str | int) else str(value)
