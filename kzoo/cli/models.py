"""``kzoo models``: the zoo as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from kzoo.cli.output import count, print_json, print_table, say


def models(
    task: Annotated[str, typer.Option(help="Only those made for this task: classify, generate, embed.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the models of the zoo.

    Get one with [bold]kzoo pull NAME[/bold]; read its card in models/NAME/README.md.
    """
    from kzoo.data import dataset_names
    from kzoo.models import zoo

    presets = [preset for preset in zoo.presets() if not task or task in preset.tasks]
    if json:
        for preset in presets:
            print_json(preset.model_dump(mode="json"))
        return
    if not presets:
        known = sorted({name for preset in zoo.presets() for name in preset.tasks})
        say(f"No model of the zoo is made for the task {task!r}. Tasks there: {', '.join(known)}.")
        raise typer.Exit(2)
    print_table(
        ["name", "what it is", "family", "parameters", "tasks", "languages", "download", "licence"],
        [
            (
                preset.name,
                preset.title,
                preset.family,
                count(preset.parameters) if preset.parameters else "-",
                ", ".join(preset.tasks) or "-",
                ", ".join(preset.languages),
                f"{count(preset.size)}B" if preset.size else "-",
                preset.license,
            )
            for preset in presets
        ],
        right=["parameters", "download"],
    )
    say(f"Data sets to train on: {', '.join(dataset_names())}.")
    say("Next: kzoo pull NAME")
