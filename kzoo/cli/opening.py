"""The model that a command line names: a run, a saved task, a checkpoint, or a name of the zoo."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kzoo.errors import UserError

if TYPE_CHECKING:
    from kzoo.tasks.task import Task

MODEL_HELP = "A run's folder, a saved model's folder, a GGUF file, or a name of the zoo (`kzoo models`)."


def open_task(model: str, *, task: str = "", **options: Any) -> Task:
    """Loads the model as a task.

    Args:
        model: a run's folder (its final model), a folder that ``Task.save`` wrote, a Hugging Face directory, or a
            name of the zoo, which is pulled when it is not in the cache.
        task: the task, for a checkpoint that does not say its own; by default what the zoo says it is made for.
        options: further arguments of the task; of a saved one only its limits count.

    Raises:
        UserError: nothing there, not a model, or a task that it cannot do.
    """
    place = find_model(model)  # first, for a mistake is told before TensorFlow's seconds
    from kzoo.tasks.load import limits_of, load, load_task, task_class
    from kzoo.tasks.text_head import is_regressor

    if isinstance(place, Path) and (place / "kzoo.json").is_file():
        limits = {name: value for name, value in options.items() if name in limits_of(place)}
        opened = load_task(place, **limits)
        if task and opened.name != task:
            raise UserError(f"{place} was saved for the task {opened.name}, not {task}.")
        if "max_length" in options and options["max_length"] != opened.max_length:
            raise UserError(f"{place} was saved with max_length {opened.max_length}. Leave --max-length out.")
        return opened
    name = task or _made_for(place)
    if name in ("classify", "regress") and isinstance(place, str):
        lacks = "classes" if name == "classify" else "head for numbers"
        raise UserError(
            f"{place} has no {lacks} of its own. Fine-tune it first (kzoo train configs/classify/movie-reviews.yaml), "
            "or use --task embed."
        )
    if not name:
        try:
            return load_task(place)  # a checkpoint with a head of its own says its task
        except UserError as error:
            if "does not say its task" not in str(error):
                raise
            raise UserError(
                f"{place} does not say its task. Add --task embed (BERT-style) or generate (GPT-style)."
            ) from None
    pretrained = load(place)
    if name == "regress" and not is_regressor(pretrained):
        raise UserError(f"{place} has no head for numbers of its own. Fine-tune it first (kzoo train).")
    if name in ("answer", "tag") and not pretrained.head_tensors(name):
        raise UserError(f"{place} has no head of its own for the task {name}. Fine-tune it first (kzoo train).")
    kind = task_class(name)
    known = [one for one in inspect.signature(kind).parameters if one != "pretrained"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"The task {name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    return kind(pretrained, **options)


def find_model(model: str) -> Path | str:
    """Returns the folder of a model, or the name when it is one of the zoo; UserError says what was looked for."""
    from kzoo.checkpoints.gguf_file import find_gguf
    from kzoo.models import zoo

    path = Path(model).expanduser()
    if find_gguf(path):
        return path
    if path.is_dir():
        final = path / "model"
        if not (path / "config.json").is_file() and (final / "config.json").is_file():
            return final
        if (path / "saved_model.pb").is_file():
            raise UserError(f"{path} is an export, which is for serving. Name the model it was exported from.")
        if not (path / "config.json").is_file():
            raise UserError(
                f"{path} is not a model: it holds no config.json"
                + (", and its run has not written its final model yet." if (path / "config.yaml").is_file() else ".")
            )
        return path
    if model in zoo.names():
        return model
    if path.exists() or "/" in model or model.startswith("."):
        raise UserError(
            f"A model is a folder or a name of the zoo. {model} is {'a file' if path.exists() else 'not there'}."
        )
    zoo.preset(model)  # raises, with the closest names
    return model


def _made_for(place: Path | str) -> str:
    if isinstance(place, Path):
        return ""
    from kzoo.models import zoo

    preset = zoo.preset(place)
    if preset.kind == "tokenizer":
        raise UserError(f"{place} is a tokenizer without a model. Pretrain one on it (kzoo train configs/gpt/...).")
    return next((task for task in ("generate", "embed") if task in preset.tasks), "")
