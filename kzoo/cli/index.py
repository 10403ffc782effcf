"""``kzoo index``: makes a text file searchable by meaning."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import count, duration, say
from kzoo.errors import UserError

Unit = Literal["line", "paragraph"]  # as in kzoo.search.passages


def index(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Plain text, or a table by its suffix: .jsonl, .csv, .tsv.")
    ],
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help=MODEL_HELP)],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write the index.")],
    column: Annotated[str, typer.Option(help="Of a table the column of the texts, unless it is called text.")] = "",
    unit: Annotated[
        Unit, typer.Option(help="Of plain text what is found: a line, or the lines between two empty ones.")
    ] = "line",
    least_words: Annotated[int, typer.Option(min=1, help="Leave out what has fewer words, headings for example.")] = 1,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Cut longer passages into pieces of so many tokens."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Tokens from one piece to the next; by default half a window.")
    ] = None,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Make a graph for approximate search (needs kzoo[hnsw]).")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Longest text in tokens, for a checkpoint that was not saved as a task.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Passages that the model reads at once.")] = 32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
) -> None:
    """Make a file searchable by meaning.

    Each line, paragraph or row gets a vector. The index appears whole or not at all; stopped, the same command goes on
    where it was. Search it with kzoo search, or put it into a served model: kzoo export MODEL DIRECTORY --corpus INDEX.

    \b
    Examples:
      kzoo index notes.txt --model minilm-l6-v2 -o notes.index
      kzoo index articles.txt --model runs/sts-benchmark -o articles.index --unit paragraph --window 128
      kzoo index questions.jsonl --column question --model minilm-l6-v2 -o questions.index --neighbours
    """
    start = time.perf_counter()
    from kzoo.cli.opening import find_model, open_task

    if not Path(file).is_file():
        raise UserError(f"There is no file {file}." if not Path(file).exists() else f"{file} is a folder. Name a file.")
    place = find_model(model)
    opened = open_task(model, task="embed", **({} if max_length is None else {"max_length": max_length}))
    from kzoo.search.index import Index

    made = Index.build(
        opened,
        file,
        output,
        column=column or None,
        unit=unit,
        least_words=least_words,
        window=window,
        stride=stride,
        neighbours=neighbours,
        batch_size=batch_size,
        overwrite=overwrite,
        model=place,
        say=say,
    )
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    say(f"{len(made):,} passages in {duration(time.perf_counter() - start)} ({count(size)}B).")
    say(f'Next: kzoo search {output} "what you look for"')
    print(made.folder)
