"""``kzoo train``: from a config to a finished run."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kzoo import data, tokenizers
from kzoo.checkpoints.pretrained import fresh
from kzoo.data.documents import as_texts
from kzoo.data.entities import types_of
from kzoo.data.examples import Examples
from kzoo.data.token_folder import TokenFolder, is_token_folder
from kzoo.errors import UserError
from kzoo.models import lora
from kzoo.tasks.labels import labels_of
from kzoo.tasks.load import load, task_class
from kzoo.training import strategy as strategies
from kzoo.training.cluster import read_cluster
from kzoo.training.config import DataConfig, ModelConfig, RunConfig, VocabularyConfig
from kzoo.training.config_file import read_config
from kzoo.training.run import Run, fit
from kzoo.training.run_folder import RunFolder
from kzoo.training.team import Team
from kzoo.training.vocabulary import train_byte_level_bpe, train_wordpiece


def train(
    config: RunConfig | str | Path,
    overrides: list[str] | None = None,
    *,
    resume: bool = True,
    say: Callable[[str], None] = print,
) -> Run:
    """Trains what a config describes; the same call goes on with a run that was stopped.

    Args:
        config: the config or its file.
        overrides: ``"training.batch_size=16"`` and the like, for a file.
        resume: False refuses to go on with a run that exists.
        say: told in a few lines what happens.

    Raises:
        UserError: what is wrong in the config, the data or the folder.
        Interrupted: by Ctrl-C or SIGTERM, after a checkpoint was saved.
        WorkerLost: of several workers another is gone.
    """
    if not isinstance(config, RunConfig):
        config = read_config(config, overrides)
    folder = RunFolder(config.output)
    cluster = read_cluster()
    if cluster is not None and len(cluster.workers) > 1 and cluster.index == 0:
        say(f"Worker 0 of {len(cluster.workers)} at {cluster.address}; waiting for the others.")
    team = Team(strategies.choose(config.training.strategy, device=config.training.device))
    with team.noticing_loss():
        return _train(team, config, folder, resume=resume, say=say if team.is_chief else _nothing)


def _train(team: Team, config: RunConfig, folder: RunFolder, *, resume: bool, say: Callable[[str], None]) -> Run:
    own_rows = config.data.share == "files" and team.size > 1
    team.compare("config", config.model_dump(mode="json", exclude={"output"}))
    part = (team.index, team.size) if own_rows else None
    training, held_out = team.together(lambda: read_examples(config, part=part))
    labels = team.together(lambda: _labels(config, training))
    if labels is not None:
        found = sorted(set().union(*team.gather(labels))) if own_rows else labels
        config = team.together(lambda: _with_labels(config, found, training.source))
    written = config.model_dump(mode="json")
    team.in_chief(lambda: _claim(folder, written, resume=resume))
    team.check_shared(folder.path)
    each = " for each worker" if own_rows else ""
    say(f"{len(training)} examples to learn from, {len(held_out) if held_out else 'none'} held out{each}.")

    keras.utils.set_random_seed(config.training.seed)  # of fresh weights
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    if isinstance(config.model.tokenizer, VocabularyConfig):
        team.in_chief(lambda: _tokenizer(config.model, training, folder))
    task = team.together(lambda: make_task(config, training, folder))
    if config.lora is not None:
        say(str(lora.summary(task)))
    settings = config.training.model_dump(exclude={"strategy"})
    if config.training.steps is not None:
        del settings["epochs"]
    return fit(
        task,
        training,
        held_out,
        run_folder=folder.path,
        logging=config.logging,
        config=written,
        own_rows=own_rows,
        say=say,
        strategy=team.strategy,
        **settings,
    )


def _claim(folder: RunFolder, written: dict[str, Any], *, resume: bool) -> None:
    if not resume and folder.config.is_file():
        raise UserError(f"{folder.path} holds a run. Remove it to start anew, or give another output folder.")
    folder.claim(written)


def _nothing(text: str) -> None:
    """Only the chief speaks."""


def read_examples(
    config: RunConfig, *, part: tuple[int, int] | None = None
) -> tuple[Examples | TokenFolder, Examples | TokenFolder | None]:
    """The examples to learn from and those held out, as a config says: the same rows on every machine.

    ``part`` is the ``(index, count)`` of a worker that reads its own files only.
    """
    said = config.data
    examples = _read(said.train, said, part)
    if said.limit is not None:
        examples = examples.sample(said.limit, seed=said.seed)
    if said.validation is not None:
        return examples, _read(said.validation, said, part)
    if said.held_out == 0:
        return examples, None
    return data.split(examples, held_out=said.held_out, seed=said.seed, stratify=said.stratify, group=said.group)


def _read(name: str, said: DataConfig, part: tuple[int, int] | None) -> Any:
    """Examples, or the folder of token ids of this name."""
    if not is_token_folder(name):
        return data.read(name, part=part, **said.reading)
    if part is not None:
        raise UserError(f"{name} holds token ids, of which each worker reads its rows alone. Use data.share: rows.")
    by_columns = [key for key in ("stratify", "group") if getattr(said, key) is not None]
    if by_columns or said.reading:
        given = ", ".join([*said.reading, *by_columns])
        raise UserError(f"{name} holds token ids, which are read as they are. Leave out data.{given}.")
    return TokenFolder.open(name)


def make_task(config: RunConfig, examples: Examples | TokenFolder, folder: RunFolder):
    """The task with its model, as a config says; a vocabulary to be learned is learned from the examples."""
    if config.task.name == "few_shot":
        raise UserError("few_shot learns nothing: kzoo few-shot CONFIG.yaml makes it, in seconds.")
    kind = task_class(config.task.name)
    options: dict[str, Any] = dict(config.task.options)
    if config.task.labels is not None:
        options["labels"] = config.task.labels
    if config.task.max_length is not None:
        options["max_length"] = config.task.max_length
    known = [name for name in inspect.signature(kind).parameters if name != "pretrained"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"The task {config.task.name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    if config.model.family is not None:
        tokenizer = _tokenizer(config.model, examples, folder)
        pretrained = fresh(config.model.family, tokenizer, **config.model.sizes)
    else:
        pretrained = load(config.model.name)
    task = kind(pretrained, **options)
    if config.lora is not None:
        lora.add(task, **config.lora.model_dump())
    return task


def _tokenizer(model: ModelConfig, examples: Examples | TokenFolder, folder: RunFolder):
    if isinstance(model.tokenizer, VocabularyConfig):
        if isinstance(examples, TokenFolder):
            made = examples.index["tokenizer"]["name"]
            raise UserError(f"{examples.source} holds token ids made with {made}. Name that in model.tokenizer.")
        if not folder.tokenizer.exists():  # the vocabulary of a run never changes
            columns = ("prompt", "answer") if "answer" in examples and "text" not in examples else ("text",)
            texts = [
                text
                for column in columns
                for text in as_texts(examples[column].tolist(), source=examples.source, column=column)
            ]
            learn = train_wordpiece if model.tokenizer.kind == "wordpiece" else train_byte_level_bpe
            learn(texts, folder.tokenizer, vocabulary_size=model.tokenizer.vocabulary_size)
        return tokenizers.load(folder.tokenizer)
    directory = Path(str(model.tokenizer))
    return tokenizers.load(directory if directory.is_dir() else data.pull(str(model.tokenizer)))


def _labels(config: RunConfig, examples: Examples | TokenFolder) -> list[str] | None:
    """The labels of the data where the config names none; None where none are needed."""
    if config.task.labels is not None or isinstance(examples, TokenFolder):
        return None
    if config.task.name == "tag":
        return types_of(examples)
    if config.task.name != "classify":
        return None
    options = config.task.options
    separator = options.get("separator", ",") if options.get("multi_label") else None
    return sorted({label for row in labels_of(examples["label"], separator=separator) for label in row})


def _with_labels(config: RunConfig, labels: list[str], source: str) -> RunConfig:
    if len(labels) > 100:
        raise UserError(
            f"The labels of {source} have {len(labels)} different values, "
            f"among them {', '.join(map(repr, labels[:3]))}. Is it the right column? If so, name them in task.labels."
        )
    return config.model_copy(update={"task": config.task.model_copy(update={"labels": labels})})
