"""``kzoo sweep``: the same run with other values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kzoo.cli.output import duration, print_table, say
from kzoo.cli.train import find_config
from kzoo.exit_codes import MISTAKE


def sweep(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="The run; examples lie under configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values for all runs, instead of the file's.")
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="KEY=A,B,C", help="Values to try; several: each with each.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder of all runs; by default the config's with -sweep.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What ranks the runs: val_loss, val_accuracy, ...")] = "val_loss",
) -> None:
    """Train the same model with other values, one run after the other, and compare them.

    Each run has a folder of its own, named by its values. All values are checked before the first begins. A run that
    fails is named, and the others go on (the exit code says so). The same command goes on where it was stopped.

    \b
    Examples:
      kzoo sweep configs/classify/movie-reviews.yaml --grid training.learning_rate=5e-5,1e-4 --metric val_accuracy
      kzoo sweep my-run.yaml training.epochs=2 --grid training.batch_size=16,32 --grid training.seed=0,1,2
      tensorboard --logdir runs/movie-reviews-sweep     (the HParams tab compares them)
    """
    from kzoo.training.sweep import plan
    from kzoo.training.sweep import sweep as run_all

    folder, planned = plan(find_config(config), grid or [], overrides or [], output=output)
    say(f"{len(planned)} runs, in {folder}.")
    trials = run_all(folder, planned, metric=metric, say=say)
    keys = list(trials[0].values)
    shown = list(dict.fromkeys([metric, "val_loss", "val_accuracy", "val_perplexity"]))
    shown = [name for name in shown if name == metric or any(name in trial.metrics for trial in trials)]
    rows = [
        [
            *(trial.values[key] for key in keys),
            *(f"{trial.metrics[name]:.4f}" if name in trial.metrics else "" for name in shown),
            duration(trial.metrics["seconds"]) if "seconds" in trial.metrics else "",
            trial.state,
        ]
        for trial in trials
    ]
    print_table([*keys, *shown, "time", "state"], rows, right=[*shown, "time"])
    failed = [trial for trial in trials if trial.state == "failed"]
    if not any(metric in trial.metrics for trial in trials) and len(failed) < len(trials):
        known = ", ".join(sorted({name for trial in trials for name in trial.metrics}))
        say(f"No run has the metric {metric}, so that they are not ranked; there are {known}.")
    elif metric in trials[0].metrics:
        say(f"The best by {metric}: {trials[0].folder}")
    say(f"Compare them: tensorboard --logdir {Path(folder)} (tab HParams)")
    if failed:
        say(f"error: {len(failed)} of {len(trials)} runs failed: {', '.join(trial.name for trial in failed)}")
        raise typer.Exit(MISTAKE)
