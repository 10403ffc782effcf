"""From a name or a directory to a backbone or a task."""

import importlib
import inspect
import json
from pathlib import Path

from kzoo.checkpoints.gguf import load_gguf
from kzoo.checkpoints.gguf_file import find_gguf
from kzoo.checkpoints.huggingface import CONFIG, load_directory
from kzoo.checkpoints.pretrained import Pretrained
from kzoo.errors import UserError
from kzoo.tasks.task import DESCRIPTION, Task

TASKS = {
    "answer": "kzoo.tasks.answer:Answer",
    "classify": "kzoo.tasks.classify:Classify",
    "regress": "kzoo.tasks.regress:Regress",
    "tag": "kzoo.tasks.tag:Tag",
    "generate": "kzoo.tasks.generate:Generate",
    "embed": "kzoo.tasks.embed:Embed",
    "few_shot": "kzoo.tasks.few_shot:FewShot",
    "fill_mask": "kzoo.tasks.fill_mask:FillMask",
    "pretrain": "kzoo.tasks.pretrain:Pretrain",
}


def task_class(name: str) -> type[Task]:
    """The class of a task, by its name.

    Raises:
        UserError: there is no such task.
    """
    if name not in TASKS:
        raise UserError(f"kzoo has no task {name!r}; it has {', '.join(TASKS)}.")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def load(name_or_directory, *, dtype=None) -> Pretrained:
    """Loads a backbone with its tokenizer.

    Args:
        name_or_directory: a name of the zoo ("minilm-l6-v2"), which is pulled when it is not in the cache, a Hugging
            Face directory, a KerasHub preset, or a GGUF file ("model.gguf").
        dtype: Keras dtype policy of the layers, "bfloat16" for example.

    Raises:
        UserError: no such name or directory, or one that cannot be read; says which file and why.
    """
    return _load(_place(name_or_directory), dtype)


def _load(place: Path, dtype) -> Pretrained:
    file = find_gguf(place)
    return load_gguf(file, dtype=dtype) if file else load_directory(place, dtype=dtype)


def load_task(directory, *, dtype=None, **limits) -> Task:
    """Loads what ``Task.save`` wrote, a Hugging Face directory with a head that kzoo knows, or a GGUF file.

    Args:
        directory: the directory or file, or a name of the zoo.
        dtype: Keras dtype policy of the layers.
        limits: options of a saved task that bound what it answers, in the place of those it was saved with: see
            ``Task.limits``.

    Raises:
        UserError: not such a directory, or another option.
    """
    directory = _place(directory)
    pretrained = _load(directory, dtype)
    path = directory / DESCRIPTION
    if path.is_file():
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            name, options = description["task"], dict(description["options"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}). Save the task again.") from None
        kind = task_class(name)
        unknown = sorted(set(options) - set(inspect.signature(kind).parameters))
        if unknown:
            raise UserError(f"{path} gives {name} the options {', '.join(unknown)}, which this release does not have.")
        if others := sorted(set(limits) - set(kind.limits)):
            raise UserError(
                f"{directory} was saved with its own {', '.join(others)}. Of a task {name} may be set anew: "
                f"{', '.join(kind.limits) or 'nothing'}."
            )
        _check_head(pretrained, name, path)
        task = kind.restored(pretrained, options | limits, directory)
        task.privacy = description.get("privacy")
        return task
    if limits:
        given = ", ".join(limits)
        raise UserError(f"{directory} is no saved task: open it with kzoo.load, and give {given} to a task.")
    architectures = pretrained.published.get("architectures") or []
    for name, head in pretrained.family.HEADS.items():
        if head.architecture in architectures:
            _check_head(pretrained, name, directory / CONFIG)
            return task_class(_kind_of(name, pretrained, directory))(pretrained)
    raise UserError(
        f"{directory} does not say its task: it has no {DESCRIPTION}, and {CONFIG} names "
        f"{', '.join(architectures) or 'no architecture'}. Load it with kzoo.load and choose a task."
    )


def limits_of(directory: Path) -> tuple[str, ...]:
    """The options that may be set anew on the task saved in a directory; none of a file that is damaged."""
    try:
        name = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))["task"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return task_class(name).limits


def _kind_of(name: str, pretrained: Pretrained, directory: Path) -> str:
    """The task, where a class of ``transformers`` stands for two: classification and regression."""
    from kzoo.tasks.published_head import units_of_head
    from kzoo.tasks.text_head import is_regressor

    if name != "classify" or not is_regressor(pretrained):
        return name
    units = units_of_head(pretrained, name)
    if units > 1:
        raise UserError(
            f"A regressor must give one number for a text. That in {directory} gives {units}. "
            "Load it with kzoo.load and choose a task."
        )
    return "regress"


def _check_head(pretrained: Pretrained, name: str, path: Path) -> None:
    """Raises where the tensors of the head are not there that the file at ``path`` promises."""
    head = pretrained.head_for(name)
    needed = [rule.source for rule in head.rules if not rule.optional] if head else []
    missing = [source for source in needed if source not in pretrained.head]
    if missing:
        raise UserError(
            f"By {path} this is a model for {name}, but {len(missing)} of its head's {len(needed)} tensors are "
            f"missing: {', '.join(missing)}. Fetch or save it again."
        )


def _place(name_or_directory) -> Path:
    """The directory or the GGUF file that is meant; a model of the zoo is pulled first."""
    path = Path(name_or_directory)
    if path.is_dir() or find_gguf(path):
        return path
    if path.exists():
        raise UserError(f"{path} is a file; a model is a directory with {CONFIG}, or a file that ends in .gguf.")
    from kzoo.models import zoo

    text = str(name_or_directory)
    if "/" in text.strip("/") or text.startswith((".", "~")):
        raise UserError(f"There is no directory {path}.")
    zoo.preset(text)  # an unknown name is an error that lists close ones
    from kzoo.data import pull

    return Path(pull(text))
