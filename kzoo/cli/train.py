"""``kzoo train``: a run from one YAML file."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.output import say

SECONDS_TO_END = 30  # of a process whose run was lost


def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="The run; examples lie under configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values to use instead of the file's.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was stopped; --no-resume refuses to.")] = True,
) -> None:
    """Train a model: fine-tune one of the zoo, or pretrain one of your own.

    The run's folder (its `output`) receives the config as resolved, checkpoints, TensorBoard logs, the final model
    and metrics.json. Ctrl-C saves first; the same command goes on where it stopped.

    \b
    Examples:
      kzoo train configs/classify/movie-reviews.yaml
      kzoo train my-run.yaml training.epochs=2 output=runs/longer
      tensorboard --logdir runs     (in a second terminal, to watch)
    """
    from kzoo.training.cluster import read_cluster
    from kzoo.training.interrupt import WorkerLost
    from kzoo.training.train import train as run_config

    try:
        run = run_config(find_config(config), overrides, resume=resume, say=say)
    except WorkerLost:
        signal.alarm(SECONDS_TO_END)  # should TensorFlow wait at its end for the worker that is gone
        raise
    cluster = read_cluster()
    if cluster is not None and cluster.index > 0:
        return  # the first worker tells
    validation = run.metrics.get("validation", {})
    if sentence := held_out(validation):
        say(sentence)
    folder = Path(run.folder or "")
    pair = ' --pair "Another."' if "text_pair" in run.task.inputs else ""
    ask = f'predict {folder} "A text."{pair}'
    if run.task.name == "generate":
        ask = f'generate {folder} "Once upon a time"'
    elif run.task.name == "answer":
        ask = f'predict {folder} "A question?" --context "A passage."'
    say(f"The run lies in {folder}. Next: kzoo {ask}, or kzoo export {folder} exports/{folder.name}")


def held_out(validation: Mapping[str, Any]) -> str:
    """The figure of a validation that says most, in a sentence; nothing where there is none."""
    if "accuracy_interval_95" in validation:
        low, high = validation["accuracy_interval_95"]
        return f"Held-out accuracy {validation['accuracy']:.4f} (95% interval {low:.4f} to {high:.4f})."
    for names, sentence in _SENTENCES.items():
        if all(name in validation for name in names):
            return sentence.format(*(validation[name] for name in names))
    return ""


_SENTENCES = {
    ("perplexity",): "Held-out perplexity {:.2f}.",
    ("exact_match", "label_accuracy"): "Held-out texts with all labels right {:.4f}, labels {:.4f}.",
    ("exact_match", "f1"): "Held-out answers right to the letter {:.4f}, F1 {:.4f}.",
    ("absolute_error",): "Held-out absolute error {:.4f}.",
    ("f1",): "Held-out F1 {:.4f}.",
    ("spearman",): "Held-out Spearman {:.4f}.",
    ("recall_at_1",): "Held-out recall of the text that belongs {:.4f}.",
    ("accuracy",): "Held-out accuracy {:.4f}.",
}
"""By the measures that there are, the first that fits."""


def find_config(config: str) -> Path:
    """Returns the config's path: a file of the user's, else one that kzoo brings (``configs/...``)."""
    path = Path(config).expanduser()
    if path.exists():
        return path
    if path.parts[:1] == ("configs",):
        from kzoo import resources

        packaged = resources.folder("configs").joinpath(*path.parts[1:])
        if packaged.is_file():
            return packaged
    return path
