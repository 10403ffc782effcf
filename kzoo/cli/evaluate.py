"""``kzoo evaluate``: how good a model is on labelled data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import duration, print_json, print_table, say
from kzoo.errors import UserError

if TYPE_CHECKING:
    from kzoo.data import Examples
    from kzoo.tasks.task import Task


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file or a data set; of a run: left out for its held-out rows.")
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the texts, unless it is called text.")
    ] = "",
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the labels, unless it is called label.")
    ] = "",
    format: Annotated[str, typer.Option(help="csv, tsv, jsonl or text; by default the file's suffix says it.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at once; the result does not depend on it.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Measure a model on labelled data, nothing dropped.

    A classifier gets its accuracy with a 95% interval, a language model its perplexity. Measure on rows that the
    model has not learned from: without DATA, a run is measured on those it held out.

    \b
    Examples:
      kzoo evaluate runs/movie-reviews
      kzoo evaluate runs/movie-reviews reviews.csv --text review --label sentiment
    """
    start = time.perf_counter()
    from kzoo.cli.opening import open_task

    held_out = None if data else held_out_rows(model)  # first, for a mistake is told before TensorFlow's seconds
    task = open_task(model)
    examples = held_out or read_examples(data, task, text=text, label=label, format=format)
    from kzoo.training.evaluate import evaluate as measure

    say(f"Measuring {model} on {len(examples)} rows of {examples.source} ...")
    results = measure(task, examples, batch_size=batch_size)
    if json:
        print_json({"model": model, "data": examples.source} | results)
    else:
        print_table(["measure", "value"], rows_of(results), right=["value"])
        say(f"Measured in {duration(time.perf_counter() - start)}.")


def read_examples(data: str, task: Task, *, text: str, label: str, format: str) -> Examples:
    """Reads the columns that the task needs; the options say what the file calls them."""
    from kzoo.data import read

    theirs = {"text": text, "label": label}
    columns = {name: theirs.get(name) or name for name in task.columns} if text or label else None
    return read(data, format=format or None, columns=columns)


def held_out_rows(model: str) -> Examples:
    """Returns the rows that a run held out from its training, by the config in its folder."""
    config = Path(model).expanduser() / "config.yaml"
    if not config.is_file():
        raise UserError(f"Name the data to measure on: {model} is not a run's folder, so it held no rows out.")
    from kzoo.training import read_config
    from kzoo.training.train import read_examples as read_both

    _, held_out = read_both(read_config(config))
    if held_out is None:
        raise UserError(f"{model} held no rows out of its training. Name the data to measure on.")
    return held_out


def rows_of(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns names and values as a person reads them."""
    rows = []
    for name, value in results.items():
        shown = " to ".join(f"{one:.4f}" for one in value) if isinstance(value, list) else value
        rows.append((name.replace("_", " "), f"{shown:.4f}" if isinstance(shown, float) else str(shown)))
    return rows
