"""``kzoo few-shot``: a classifier made of a language model and labelled examples, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.output import say
from kzoo.errors import UserError


def few_shot(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A GPT-style model: a folder or a name of the zoo. Or a CONFIG.yaml.")
    ],
    pool: Annotated[
        str, typer.Argument(metavar="POOL", help="Labelled examples: a file (CSV, TSV, JSONL) or a data set's name.")
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Where to save it; of a config: instead of its own.")
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the texts, unless it is called text.")
    ] = "",
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the labels, unless it is called label.")
    ] = "",
    format: Annotated[str, typer.Option(help="csv, tsv or jsonl; by default by the suffix.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of the task: shots=8, choose=similar, embedder=minilm-l6-v2, template=..., ... May be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Make a classifier of a language model and a few examples shown to it.

    Nothing is trained: for each text the model reads some of the pool's examples first. What is saved is asked,
    measured, exported and served like any other model. docs/few-shot.md says what the options do.

    \b
    Examples:
      kzoo few-shot configs/few_shot/movie-reviews.yaml
      kzoo few-shot smollm2-135m-instruct tickets.csv --label queue -o runs/tickets
      kzoo few-shot smollm2-135m-instruct tickets.csv -o runs/alike --option embedder=minilm-l6-v2 --option shots=4
      kzoo predict runs/tickets "The printer is on fire."
    """
    if model.endswith((".yaml", ".yml")):
        if pool or text or label or format:
            raise UserError("A config says its own pool and columns. Leave POOL, --text, --label and --format out.")
        settings = [f"task.options.{one}" for one in option or []] + ([f"output={output}"] if output else [])
        from kzoo.cli.train import find_config
        from kzoo.training.config_file import read_config

        config = read_config(find_config(model), settings)
    else:
        config = config_of(model, pool, output, text=text, label=label, format=format, option=option or [])
    from kzoo.training.few_shot import make_few_shot

    task = make_few_shot(config, overwrite=overwrite, say=say)
    folder = Path(config.output)
    how = f"{task.shots} demonstrations, {'chosen for each text' if task.choose == 'similar' else task.choose}"
    say(f'{folder} shows {how}. Next: kzoo predict {folder} "A text.", or kzoo export {folder} exports/{folder.name}')


def config_of(model: str, pool: str, output: str, *, text: str, label: str, format: str, option: list[str]) -> Any:
    """Returns what a command line says as a config."""
    from kzoo.cli.evaluate import read_options
    from kzoo.training.config import RunConfig
    from kzoo.training.config_file import check

    if not pool or not output:
        raise UserError("Name the pool behind the model, and the folder to save in: kzoo few-shot MODEL POOL -o DIR.")
    options = read_options(option)
    top: dict[str, Any] = {name: options.pop(name) for name in ("labels", "max_length") if name in options}
    columns = {"text": text or "text", "label": label or "label"} if text or label else {}
    data: dict[str, Any] = {"train": pool, "held_out": 0}
    if columns:
        data["columns"] = columns
    if format:
        data["format"] = format
    task = {"name": "few_shot", "options": options, **top}
    said = {"model": {"name": model}, "task": task, "data": data, "output": output}
    return check(said, RunConfig, where="The command line")
