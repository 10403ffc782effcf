"""``kzoo few-shot``: from a config to a task of demonstrations, which learns nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kzoo.checkpoints.replacing import write_text
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.tasks.few_shot import OPTIONS, FewShot
from kzoo.tasks.load import load, load_task, task_class
from kzoo.tasks.task import Task
from kzoo.training.config import RunConfig
from kzoo.training.config_file import to_yaml
from kzoo.training.run_folder import RunFolder
from kzoo.training.train import read_examples


def make_few_shot(config: RunConfig, *, overwrite: bool = False, say: Callable[[str], None] = print) -> FewShot:
    """Makes the task of a config, whose ``data.train`` is the pool, and saves it in the config's folder.

    The folder is like that of a run: ``config.yaml`` beside ``model/``, so that ``kzoo evaluate`` finds the rows held
    out.

    Raises:
        UserError: the config is not of the task ``few_shot``, or the folder is taken.
    """
    folder = RunFolder(config.output)
    if config.task.name != "few_shot":
        raise UserError(f"kzoo few-shot makes the task few_shot. The config's task is {config.task.name}: kzoo train.")
    if config.model.name is None:
        raise UserError("few_shot needs a model that has learned: give model.name, one of the zoo or a folder.")
    if folder.model.exists() and not overwrite:
        raise UserError(f"{folder.path} holds a model. Name another folder, or add --overwrite.")
    options: dict[str, Any] = dict(config.task.options)
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise UserError(f"few_shot has no option {', '.join(unknown)}; it has {', '.join(OPTIONS)}.")
    pool, _ = read_examples(config)
    embedder = options.pop("embedder", None)
    if embedder is not None:
        options["embedder"] = open_embedder(str(embedder))
    if not isinstance(pool, Examples):
        raise UserError(f"A pool holds texts with labels. {config.data.train} holds token ids.")
    say(f"A pool of {len(pool)} examples ...")
    options |= {"pool": pool, "labels": config.task.labels, "max_length": config.task.max_length}
    task = FewShot(load(config.model.name), **options)
    folder.path.mkdir(parents=True, exist_ok=True)
    task.save(folder.model)
    write_text(folder.config, to_yaml(config))
    return task


def open_embedder(name: str) -> Task:
    """The ``Embed`` in a folder, or one of a model of the zoo."""
    place = Path(name)
    place = place / "model" if (place / "model" / "kzoo.json").is_file() else place
    task = load_task(place) if (place / "kzoo.json").is_file() else task_class("embed")(load(name))
    if task.name != "embed":
        raise UserError(f"An embedder is a model of the task embed. {name} is one of {task.name}.")
    return task
