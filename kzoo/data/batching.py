"""The pipeline of batches: texts are tokenized once, then every epoch is a plan over the rows that came of them."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.examples import Examples
from kzoo.data.packing import blocks
from kzoo.data.plan import Plan, buckets, plan_batches
from kzoo.errors import UserError

# N examples, W rows (N unless the task cuts texts into windows or blocks), B batch size, T length

Tokens = dict[str, tf.RaggedTensor | tf.Tensor]


class Batches:
    """Examples made ready for a task: tokenized, planned, and turned into a ``tf.data.Dataset`` for any epoch.

    Args:
        task: says what it needs (``columns``), and does ``tokenize``, ``targets`` and ``pack``.
        examples: with the task's columns.
        batch_size: rows of every batch.
        training: whether rows and batches are shuffled by ``(seed, epoch)``; else they go from short to long.
        seed: of the shuffling.
        lengths: the lengths that batches may have; by default steps from 16 up to the task's ``max_length``.

    Attributes:
        row_lengths: int64 ``[W]``, the tokens of each row.
        example_of_row: int64 ``[W]``, the example that each row came from.
        steps: batches of every epoch.
        tokens: real tokens of every epoch.
    """

    def __init__(
        self,
        task: Any,
        examples: Examples | Mapping[str, Sequence[Any]],
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1. Received {batch_size}.")
        if not isinstance(examples, Examples):
            examples = Examples(examples)
        self.task = task
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self._tokens, self._targets, self._weights = _encoded(task, examples)
        self.row_lengths = self._tokens["token_ids"].row_lengths().numpy()
        self.example_of_row = self._tokens["row"].numpy().astype(np.int64)
        if lengths is None and getattr(task, "joins_documents", False):
            lengths = (min(task.max_length, int(self.row_lengths.max())),)
        self.lengths = buckets(
            None if lengths is None else tuple(lengths),
            longest=int(self.row_lengths.max()),
            max_length=task.max_length,
        )
        self.steps = -(-len(self.row_lengths) // batch_size)
        self.tokens = int(self.row_lengths.sum())

    def plan(self, epoch: int = 0) -> Plan:
        """The batches of an epoch: which rows, how many of them real, how long."""
        return plan_batches(
            self.row_lengths,
            batch_size=self.batch_size,
            lengths=self.lengths,
            training=self.training,
            seed=self.seed,
            epoch=epoch,
        )

    def dataset(self, epoch: int = 0, start_step: int = 0) -> tf.data.Dataset:
        """The batches of an epoch from ``start_step`` on, as ``(features, targets, weights)``.

        A pure function of ``(seed, epoch)``: what precedes ``start_step`` is not read. Every batch has ``batch_size``
        rows; the places that the last rows leave are filled with rows of weight 0.
        """
        plan = self.plan(epoch)
        if not 0 <= start_step <= len(plan):
            raise ValueError(f"start_step must lie between 0 and {len(plan)}. Received start_step={start_step}.")
        steps = tf.data.Dataset.from_tensor_slices(
            (plan.rows[start_step:], plan.counts[start_step:], plan.lengths[start_step:])
        )
        return steps.map(self._batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(
            tf.data.AUTOTUNE
        )

    def _batch(self, rows: tf.Tensor, count: tf.Tensor, length: tf.Tensor) -> tuple[Any, Any, Any]:
        tokens = {name: tf.gather(values, rows) for name, values in self._tokens.items()}
        features = self.task.pack(tokens, length)
        is_real = tf.sequence_mask(count, self.batch_size, dtype=tf.float32)  # [B]
        targets = tf.nest.map_structure(lambda values: self._gathered(values, rows, length), self._targets)
        weights = tf.nest.map_structure(
            lambda values: _weighed(self._gathered(values, rows, length), is_real), self._weights
        )
        return tf.nest.map_structure(self._with_batch_size, (features, targets, weights))

    def _gathered(self, values, rows, length):
        chosen = tf.gather(values, rows)
        return chosen.to_tensor(0, shape=tf.stack([-1, length])) if isinstance(chosen, tf.RaggedTensor) else chosen

    def _with_batch_size(self, tensor):
        return tf.ensure_shape(tensor, [self.batch_size, *tensor.shape[1:]])


def batches(
    task: Any,
    examples: Examples | Mapping[str, Sequence[Any]],
    *,
    batch_size: int,
    training: bool,
    seed: int = 0,
    epoch: int = 0,
    start_step: int = 0,
    lengths: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """The batches of one epoch, ready for ``fit``: ``Batches(...).dataset(epoch, start_step)``.

    The same ``Examples`` are tokenized once for a task, however often this is called.
    """
    made = Batches(task, examples, batch_size=batch_size, training=training, seed=seed, lengths=lengths)
    return made.dataset(epoch, start_step)


def _weighed(weights, is_real):
    weights = tf.cast(weights, tf.float32)
    return weights * tf.reshape(is_real, [-1] + [1] * (weights.shape.rank - 1))


# What was tokenized, kept as long as both the examples and the task live.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _encoded(task: Any, examples: Examples) -> tuple[Tokens, Any, Any]:
    of_examples = _kept.setdefault(examples, weakref.WeakKeyDictionary())
    max_length, encoded = of_examples.get(task, (None, None))
    if encoded is None or max_length != task.max_length:
        encoded = _encode(task, examples)
        of_examples[task] = (task.max_length, encoded)
    return encoded


def _encode(task: Any, examples: Examples) -> tuple[Tokens, Any, Any]:
    if not len(examples):
        raise UserError(f"There are no examples in {examples.source}.")
    for name in task.columns:
        if name not in examples:
            raise UserError(
                f"The task {task.name} needs the columns {', '.join(task.columns)}; {examples.source} has "
                f"{', '.join(examples)}. Say which is which: columns: {{{name}: ...}}."
            )
    texts = {name: _texts(examples, name) for name, kind in task.columns.items() if kind == "string"}
    with tf.device("CPU:0"):
        tokens = _tokenize(task, texts)
        if getattr(task, "joins_documents", False):
            tokens = blocks(tokens, task.max_length)
        targets, weights = task.targets(examples, tokens)
    return tokens, targets, weights


def _texts(examples: Examples, name: str) -> list[str]:
    values = examples[name].tolist()
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise UserError(f"{name} of {examples.source} must hold texts. Row {row + 1} holds {value!r}.")
    return values


def _tokenize(task: Any, texts: dict[str, list[str]]) -> Tokens:
    """Tokenizes in pieces, several at once, and joins them; ``row`` counts from the first example."""
    columns = {name: tf.constant(values) for name, values in texts.items()}
    sizes = [sum(map(len, row)) for row in zip(*texts.values(), strict=True)]
    edges = _pieces(sizes, rows=1024, characters=1 << 20)
    dataset = tf.data.Dataset.from_tensor_slices((edges[:-1], edges[1:])).map(
        lambda start, end: task.tokenize({name: values[start:end] for name, values in columns.items()}),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    pieces = list(dataset)
    for piece, start in zip(pieces, edges, strict=False):
        piece["row"] = piece["row"] + tf.cast(start, piece["row"].dtype)
    return {name: tf.concat([piece[name] for piece in pieces], axis=0) for name in pieces[0]}


def _pieces(sizes: list[int], *, rows: int, characters: int) -> np.ndarray:
    """Edges of pieces that have at most so many rows, and hardly more than so many characters."""
    edges = [0]
    held = 0
    for row, size in enumerate(sizes):
        if row > edges[-1] and (row - edges[-1] >= rows or held + size > characters):
            edges.append(row)
            held = 0
        held += size
    return np.array([*edges, len(sizes)], dtype=np.int64)
