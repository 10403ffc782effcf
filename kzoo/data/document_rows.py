"""Rows of running text, or of prompts with answers: laid out once, read and made ready batch by batch."""

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.documents import Documents, as_texts, from_texts
from kzoo.data.examples import Examples
from kzoo.data.exchanges import Exchanges
from kzoo.data.spans import ArrayStream, Stream
from kzoo.data.token_folder import TokenFolder
from kzoo.errors import UserError

# W rows, B rows of a batch, T length


class DocumentRows:
    """The rows that a task makes of documents, or of prompts with their answers.

    Args:
        task: with ``rows(documents)``, which gives ``Spans``, and ``prepare``; with ``exchanges(examples)`` where it
            learns from answers, too.
        examples: texts in memory, or a ``TokenFolder``.

    Attributes:
        row_lengths: int64 ``[W]``, the tokens of each row.
        example_of_row: int64 ``[W]``, the document with which each row begins.
        are_filled: whether the rows are filled up to the task's ``max_length``.
        left_out: how many examples are in no row, by the reason.
    """

    def __init__(self, task: Any, examples: Examples | TokenFolder):
        self.task = task
        exchanges = exchanges_of(task, examples)
        if exchanges is None:
            documents = documents_of(task, examples)
            self._stream: Stream = documents.stream
            self.spans = task.rows(documents)
            self.are_filled, self.left_out = task.fills_rows, {}
        else:
            self._stream = ArrayStream(exchanges.ids)
            self.spans = exchanges.spans(task.max_length, packs=task.packs_rows)
            self.are_filled, self.left_out = task.packs_rows, exchanges.left_out
        self.row_lengths = self.spans.row_lengths
        self.example_of_row = self.spans.documents.astype(np.int64)

    def batch(self, rows: tf.Tensor, is_real: tf.Tensor, length: tf.Tensor, keys: tf.Tensor) -> tuple[Any, Any, Any]:
        """Features, targets and weights of rows.

        Args:
            rows: integers ``[B]``.
            is_real: float32 ``[B]``, 0 for rows that only fill the batch.
            length: scalar, to which the rows are padded.
            keys: uint64 ``[B]``, a pure function of the seed, the epoch and the row.
        """
        ids, tags, sizes, labels = tf.numpy_function(
            self._read, [rows], [tf.int32, tf.int32, tf.int64, tf.int32], stateful=False
        )
        for tensor, count in ((ids, None), (tags, None), (sizes, rows.shape[0]), (labels, rows.shape[0])):
            tensor.set_shape([count])
        tokens = {
            "token_ids": tf.RaggedTensor.from_row_lengths(ids, sizes, validate=False),
            "tags": tf.RaggedTensor.from_row_lengths(tags, sizes, validate=False),
            "labels": labels,
        }
        return self.task.prepare(tokens, length, is_real, keys)

    def _read(self, rows: np.ndarray):
        return self.spans.read(self._stream, rows)


# What was tokenized, kept as long as both the texts and the tokenizer live.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_kept_exchanges: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def exchanges_of(task: Any, examples: Examples | TokenFolder) -> Exchanges | None:
    """Prompts with answers, tokenized once for the same examples and task; None of running text.

    Raises:
        UserError: no example has an answer.
    """
    if isinstance(examples, TokenFolder):
        return None
    of_examples = _kept_exchanges.setdefault(examples, weakref.WeakKeyDictionary())
    max_length, exchanges = of_examples.get(task, (None, None))
    if max_length != task.max_length:
        exchanges = task.exchanges(examples)
        of_examples[task] = (task.max_length, exchanges)
    if exchanges is not None and not len(exchanges):
        raise UserError(f"There is nothing to learn from in {examples.source}: {spoken(exchanges.left_out)}.")
    return exchanges


def spoken(left_out: Mapping[str, int]) -> str:
    """How many examples are in no row, and why, in words."""
    return ", ".join(f"{count} example{'s' if count > 1 else ''} {reason}" for reason, count in left_out.items())


def documents_of(task: Any, examples: Examples | TokenFolder) -> Documents:
    """The documents: of a folder of tokens, or tokenized now, once for the same examples and tokenizer."""
    if isinstance(examples, TokenFolder):
        examples.check_tokenizer(task.tokenizer)
        return examples.documents(sentences=task.reads_sentences)
    column = next(iter(task.columns))
    of_examples = _kept.setdefault(examples, weakref.WeakKeyDictionary())
    made = of_examples.setdefault(task.tokenizer, {})
    if task.reads_sentences not in made:
        texts = as_texts(examples[column].tolist(), source=examples.source, column=column)
        made[task.reads_sentences] = from_texts(task.tokenizer, texts, sentences=task.reads_sentences)
    return made[task.reads_sentences]
