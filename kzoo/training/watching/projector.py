"""Vectors for TensorBoard's Projector tab: how the model sees texts, or tokens.

In ``train/projector/step-NUMBER/`` of the run's ``tensorboard`` folder, named by ``train/projector_config.pbtxt``.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins import projector

from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.training.config import ProjectorConfig
from kzoo.training.progress import Progress

# N points, D width, V vocabulary, B rows, T length

FOLDER = "projector"
CONFIG = "projector_config.pbtxt"
LONGEST = 200  # characters of a text
BATCHES = 200  # read at most to find the most frequent tokens


class Projector(keras.callbacks.Callback):
    """Writes vectors at the end of the run and, by choice, of each epoch.

    Of a task that reads single texts: the vector that its head reads of each, with the text, its label and, of a
    classifier, the answer. Of a language model: the vectors of the tokens that are most frequent in the validation.

    Args:
        task: its model is the one that learns.
        batches: of the validation, or of training where there is none.
        examples: of these batches.
        folder: of the training curves.
        config: how many points, and when.
        progress: the run's.
    """

    def __init__(self, task, batches: Batches, examples, folder: Path, config: ProjectorConfig, progress: Progress):
        super().__init__()
        self.task = task
        self.batches = batches
        self.examples = examples
        self.folder = folder
        self.config = config
        self.progress = progress

    def on_epoch_end(self, epoch, logs=None):
        """Writes, when each epoch is to have its own."""
        if self.config.each_epoch:
            self.write()

    def write(self) -> None:
        """Writes the vectors as the model is now."""
        if getattr(self.task, "reads_documents", False) or not isinstance(self.examples, Examples):
            columns, rows, vectors = self._of_tokens()
        else:
            columns, rows, vectors = self._of_texts()
        at = self.folder / FOLDER / f"step-{self.progress.total:06d}"
        aside = at.with_name(f".{at.name}.{os.getpid()}")
        aside.mkdir(parents=True, exist_ok=True)
        np.savetxt(aside / "vectors.tsv", vectors, fmt="%.6g", delimiter="\t")
        lines = ["\t".join(map(_cell, line)) for line in ([columns, *rows] if len(columns) > 1 else rows)]
        (aside / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        shutil.rmtree(at, ignore_errors=True)
        os.replace(aside, at)
        name_all(self.folder)

    def _of_texts(self) -> tuple[list[str], list[list], np.ndarray]:
        """Columns, a row for each text, and vectors ``[N, D]``."""
        examples = self.examples.sample(self.config.points)
        batches = Batches(self.task, examples, batch_size=self.batches.batch_size, training=False)
        plan, parts, answers = batches.plan(), [], []
        for (features, _, _), count in zip(batches.dataset(), plan.counts, strict=True):
            vectors, outputs = (rows[:: batches.rows_each] for rows in self._vectors(features))  # the first of each
            parts.append(vectors[:count])
            answers.append(outputs[:count])
        row_of_place = np.concatenate([rows[:count] for rows, count in zip(plan.rows, plan.counts, strict=True)])
        example_of_place = batches.example_of_row[row_of_place]
        _, places = np.unique(example_of_place, return_index=True)  # of an example in several rows the shortest
        vectors, outputs = np.concatenate(parts)[places], np.concatenate(answers)[places]
        columns, rows = ["text"], [[self._text(examples, row)] for row in example_of_place[places].tolist()]
        if "label" in examples:
            columns.append("label")
            for line, row in zip(rows, example_of_place[places].tolist(), strict=True):
                line.append(examples["label"][row])
        if self.task.name == "classify" and not self.task.multi_label:
            columns.append("answered")
            for line, best in zip(rows, outputs.argmax(-1).tolist(), strict=True):
                line.append(self.task.labels[best])
        return columns, rows, vectors

    def _vectors(self, features) -> tuple[np.ndarray, np.ndarray]:
        """What the head reads of each row ``[B, D]``, and what the model answers."""
        head = getattr(self.task, "head", None)
        if isinstance(head, keras.layers.Layer):
            both = keras.Model(self.task.model.inputs, [head.input, self.task.model.output])
            vectors, outputs = both([features[one.name] for one in self.task.model.inputs], training=False)
        else:
            outputs = self.task.model(features, training=False)
            vectors = self.task.backbone(features, training=False)["sequence_output"]
        if len(vectors.shape) == 3:  # the mean over the tokens
            mask = tf.cast(features["padding_mask"], vectors.dtype)[..., tf.newaxis]
            vectors = tf.reduce_sum(vectors * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1)
        first = tf.nest.flatten(outputs)[0]
        return np.asarray(tf.cast(vectors, tf.float32)), np.asarray(first)

    def _text(self, examples: Examples, row: int) -> str:
        return " / ".join(str(examples[name][row]) for name in self.task.inputs if name in examples)

    def _of_tokens(self) -> tuple[list[str], list[list], np.ndarray]:
        tokenizer, embeddings = self.task.tokenizer, self.task.backbone.token_embedding.embeddings
        counts = np.zeros(embeddings.shape[0], np.int64)
        for ids in self._ids():
            np.add.at(counts, ids, 1)
        counts[list(tokenizer.special_ids.values())] = 0
        frequent = np.argsort(-counts, kind="stable")[: self.config.points]
        frequent = frequent[counts[frequent] > 0]
        rows = [[tokenizer.token_of(number), int(counts[number])] for number in frequent.tolist()]
        return ["token", "occurs"], rows, np.asarray(embeddings, np.float32)[frequent]

    def _ids(self) -> Iterator[np.ndarray]:
        for features, _, _ in self.batches.dataset().take(BATCHES):
            yield features["token_ids"].numpy()[features["padding_mask"].numpy() != 0]


def name_all(folder: Path) -> None:
    """Writes the config that names all vectors of a folder, the newest first; none where there are none."""
    config = projector.ProjectorConfig()
    for path in sorted((folder / FOLDER).glob("step-*"), reverse=True):
        one = config.embeddings.add()
        one.tensor_name = path.name
        one.tensor_path = f"{FOLDER}/{path.name}/vectors.tsv"
        one.metadata_path = f"{FOLDER}/{path.name}/metadata.tsv"
    if not config.embeddings:
        (folder / CONFIG).unlink(missing_ok=True)
        return
    aside = folder / f".{CONFIG}.{os.getpid()}"
    aside.write_text(text_format.MessageToString(config), encoding="utf-8")
    os.replace(aside, folder / CONFIG)


def rewind(folder: Path, total: int) -> None:
    """Takes out vectors of steps that are to be done again, and what a kill left half written."""
    for path in (folder / FOLDER).glob("step-*"):
        if int(path.name.removeprefix("step-")) > total:
            shutil.rmtree(path, ignore_errors=True)
    for path in [*(folder / FOLDER).glob(".step-*"), *folder.glob(f".{CONFIG}.*")]:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    if folder.is_dir():
        name_all(folder)


def _cell(value) -> str:
    text = " ".join(str(value).split()) or "(empty)"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
