"""``kzoo search``: finds passages of an index by meaning."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kzoo.cli.output import print_json, print_table
from kzoo.cli.predict import gather, shorten


def search(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="A folder that kzoo index wrote.")],
    queries: Annotated[list[str] | None, typer.Argument(metavar="QUERY", help="What is sought.")] = None,
    file: Annotated[str, typer.Option(metavar="PATH", help="Queries, one a line; - for standard input.")] = "",
    top: Annotated[int, typer.Option(min=1, help="Hits of each query.")] = 5,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every passage, though there is a graph of neighbours.")
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Where the index's model is now, if it is not where it was.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a query, for programs.")] = False,
) -> None:
    """Search an index by meaning.

    A table on a terminal: the cosine, the line of the file, the passage. One JSON object a query with --json or into a
    pipe.

    \b
    Examples:
      kzoo search notes.index "why the server would not start"
      kzoo search notes.index --file queries.txt --top 10 > hits.jsonl
    """
    texts = gather(queries, file)
    from kzoo.search.store import Store

    Store(Path(index))  # a mistake is told before the model is loaded
    from kzoo.cli.opening import open_task
    from kzoo.search.index import Index

    opened = Index(index, task=open_task(model, task="embed") if model else None)
    for text, hits in zip(texts, opened.search(texts, top=top, exact=exact or None), strict=True):
        if json or not sys.stdout.isatty():
            print_json({"query": text, "hits": [asdict(hit) for hit in hits]})
            continue
        print_table(
            ["score", "line", shorten(text, 60)],
            [(f"{hit.score:.3f}", str(hit.line or hit.number), shorten(hit.text, 400)) for hit in hits],
            right=["score", "line"],
        )
