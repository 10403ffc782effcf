"""The pipeline of batches: texts are tokenized once, then every epoch is a plan over the rows that came of them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.document_rows import DocumentRows
from kzoo.data.documents import pieces
from kzoo.data.draws import row_keys
from kzoo.data.examples import Examples
from kzoo.data.kept_tokens import kept_tokens
from kzoo.data.plan import Plan, bucket_counts, bucket_steps, buckets, plan_batches, plan_poisson
from kzoo.data.token_folder import TokenFolder, as_examples
from kzoo.errors import UserError

# N examples, W rows (N unless the task cuts texts into windows or blocks), B batch size, T length

Tokens = dict[str, tf.RaggedTensor | tf.Tensor]


class Batches:
    """Examples made ready for a task: tokenized, planned, and turned into a ``tf.data.Dataset`` for any epoch.

    Args:
        task: says what it needs (``columns``), and does ``tokenize``, ``targets`` and ``pack``; one that
            ``reads_documents`` does ``rows`` and ``prepare`` instead.
        examples: with the task's columns; for a task that reads documents also a ``TokenFolder``.
        batch_size: rows of every batch.
        training: whether rows and batches are shuffled by ``(seed, epoch)``; else they go from short to long.
        seed: of the shuffling.
        lengths: the lengths that batches may have; by default steps from 16 up to the task's ``max_length``.
        poisson: places of every batch when each row joins each batch by itself, so that ``batch_size`` is the expected
            number of rows only; a row may then be in several batches of an epoch, or in none. 0: every row once.

    Attributes:
        row_lengths: int64 ``[W]``, the tokens of each row.
        example_of_row: int64 ``[W]``, the example that each row came from.
        rows_each: rows of the model that a row of a batch is: more than 1 where a task keeps the rows of an example
            together. ``row_lengths`` has the longest of them.
        token_counts: int64 ``[W, rows_each]``, the tokens of each of the model's rows.
        steps: batches of every epoch.
        tokens: real tokens of every epoch.
        left_out: how many examples are in no row, by the reason.
    """

    def __init__(
        self,
        task: Any,
        examples: Examples | TokenFolder | Mapping[str, Sequence[Any]],
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        poisson: int = 0,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1. Received {batch_size}.")
        examples = as_examples(examples)
        self.task = task
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        _check(task, examples)
        self._rows: TextRows | DocumentRows
        if isinstance(examples, TokenFolder) or getattr(task, "reads_documents", False):
            self._rows = DocumentRows(task, examples)
        else:
            self._rows = TextRows(task, examples)
        _check_rows(task, examples, self._rows, training=training)
        self.row_lengths = self._rows.row_lengths
        self.example_of_row = self._rows.example_of_row
        self.left_out = self._rows.left_out
        self.token_counts = getattr(self._rows, "token_counts", self.row_lengths[:, np.newaxis])
        self.rows_each = self.token_counts.shape[1]
        if lengths is None and self._rows.are_filled:
            lengths = (min(task.max_length, int(self.row_lengths.max())),)
        self.lengths = buckets(
            None if lengths is None else tuple(lengths),
            longest=int(self.row_lengths.max()),
            max_length=task.max_length,
        )
        self.steps = -(-len(self.row_lengths) // batch_size)
        self.tokens = int(self.token_counts.sum())
        self._poisson = poisson
        self._workers = 1
        self._steps_of_lengths: np.ndarray | None = None

    def join(self, gather: Callable[[Any], list[Any]]) -> None:
        """Makes these the rows of one of several workers that each have their own.

        All of them take the same number of steps, and at each step batches of the same length, to which every worker
        brings an equal share of rows. ``steps`` and ``tokens`` become those of all together.

        Args:
            gather: called in every worker with a value, gives the values of all in their order.
        """
        longest = gather(self.lengths)
        self.lengths = tuple(max(longest, key=max))
        counts = np.array(gather(bucket_counts(self.row_lengths, self.lengths).tolist()))
        self._workers = len(counts)
        if self.batch_size % self._workers:
            raise UserError(
                f"batch_size counts the rows of all {self._workers} workers together and must be a multiple of their "
                f"number. Received {self.batch_size}."
            )
        self._steps_of_lengths = bucket_steps(counts, self.batch_size // self._workers)
        self.steps = int(self._steps_of_lengths.sum())
        self.tokens = sum(gather(self.tokens))

    def plan(self, epoch: int = 0) -> Plan:
        """The batches of an epoch: which rows, how many of them real, how long; after ``join`` this worker's share."""
        if self._poisson:
            return plan_poisson(
                self.row_lengths,
                batch_size=self.batch_size,
                places=self._poisson,
                steps=self.steps,
                lengths=self.lengths,
                seed=self.seed,
                epoch=epoch,
            )
        return plan_batches(
            self.row_lengths,
            batch_size=self.batch_size // self._workers,
            steps=self._steps_of_lengths,
            lengths=self.lengths,
            training=self.training,
            seed=self.seed,
            epoch=epoch,
        )

    def dataset(
        self, epoch: int = 0, start_step: int = 0, *, replicas: int = 1, mine: range = range(1)
    ) -> tf.data.Dataset:
        """The batches of an epoch from ``start_step`` on, as ``(features, targets, weights)``.

        A pure function of ``(seed, epoch)``: what precedes ``start_step`` is not read. Every batch has ``batch_size``
        rows, ``rows_each`` of the model for each; the places that the last rows leave are filled with rows of weight 0.

        Args:
            epoch: which one.
            start_step: the first batch.
            replicas: in how many equal slices of rows each batch is cut.
            mine: the slices wanted; those of one batch come one after the other. Only their rows are read.
        """
        plan = self.plan(epoch)
        if not 0 <= start_step <= len(plan):
            raise ValueError(f"start_step must lie between 0 and {len(plan)}. Received start_step={start_step}.")
        if self._workers > 1:  # the plan is this worker's already
            replicas, mine = replicas // self._workers, range(len(mine))
        steps = tf.data.Dataset.from_tensor_slices(plan.slices(replicas, mine, start_step))
        return steps.map(
            lambda rows, count, length: self._batch(rows, count, length, epoch),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        ).prefetch(tf.data.AUTOTUNE)

    def _batch(self, rows: tf.Tensor, count: tf.Tensor, length: tf.Tensor, epoch: int) -> tuple[Any, Any, Any]:
        size = rows.shape[0]
        is_real = tf.sequence_mask(count, size, dtype=tf.float32)  # [B]
        keys = row_keys(rows, seed=self.seed, epoch=epoch)
        return tf.nest.map_structure(
            lambda tensor: tf.ensure_shape(tensor, [size * self.rows_each, *tensor.shape[1:]]),
            self._rows.batch(rows, is_real, length, keys),
        )


class TextRows:
    """The rows that a task makes of texts, each with its target.

    Args:
        task: with ``tokenize``, ``targets`` and ``pack``.
        examples: with the task's columns.

    Attributes:
        row_lengths, example_of_row, token_counts: see ``Batches``.
        are_filled, left_out: see ``DocumentRows``.
    """

    are_filled = False
    left_out: Mapping[str, int] = {}

    def __init__(self, task: Any, examples: Examples):
        self.task = task
        self.tokens, self._targets, self._weights = _encoded(task, examples)
        lengths = self.tokens["token_ids"].row_lengths().numpy()
        each = len(lengths) // len(examples) if getattr(task, "keeps_examples_whole", False) else 1
        self.token_counts = lengths.reshape(-1, each)
        self.row_lengths = self.token_counts.max(axis=1)
        self.example_of_row = self.tokens["row"].numpy().astype(np.int64)[::each]

    @property
    def has_targets(self) -> bool:
        """Whether any row has something to learn from."""
        weights = tf.nest.flatten(self._weights, expand_composites=False)
        return any(np.any(getattr(one, "flat_values", one)) for one in weights)

    def batch(self, rows: tf.Tensor, is_real: tf.Tensor, length: tf.Tensor, keys: tf.Tensor) -> tuple[Any, Any, Any]:
        """Features, targets and weights of rows; see ``DocumentRows.batch``."""
        each = self.token_counts.shape[1]
        if each > 1:
            rows = tf.reshape(rows[:, tf.newaxis] * each + tf.range(each, dtype=rows.dtype), [-1])
            is_real = tf.repeat(is_real, each)
        tokens = {name: tf.gather(values, rows) for name, values in self.tokens.items()}
        features = self.task.pack(tokens, length)
        targets = tf.nest.map_structure(lambda values: _gathered(values, rows, length), self._targets)
        weights = tf.nest.map_structure(
            lambda values: _weighed(_gathered(values, rows, length), is_real), self._weights
        )
        return features, targets, weights


def batches(
    task: Any,
    examples: Examples | TokenFolder | Mapping[str, Sequence[Any]],
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


def _gathered(values, rows, length):
    chosen = tf.gather(values, rows)
    return chosen.to_tensor(0, shape=tf.stack([-1, length])) if isinstance(chosen, tf.RaggedTensor) else chosen


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
    texts = {name: _texts(examples, name) for name, kind in columns_in(task, examples).items() if kind == "string"}
    with tf.device("CPU:0"):
        tokens = kept_tokens(task, texts, lambda: _tokenize(task, texts))
        targets, weights = task.targets(examples, tokens)
    return tokens, targets, weights


def _check(task: Any, examples: Examples | TokenFolder) -> None:
    if not len(examples):
        raise UserError(f"There are no examples in {examples.source}.")
    if isinstance(examples, TokenFolder):
        if not getattr(task, "reads_documents", False):
            raise UserError(f"The task {task.name} learns from texts. {examples.source} holds token ids.")
        return
    columns = columns_in(task, examples)
    for name in columns:
        if name not in examples:
            raise UserError(
                f"The task {task.name} needs the columns {', '.join(columns)}; {examples.source} has "
                f"{', '.join(examples)}. Say which is which: columns: {{{name}: ...}}."
            )


def columns_in(task: Any, examples: Examples) -> Mapping[str, str]:
    """The columns that a task reads in examples, with their kinds."""
    return task.columns_in(examples) if hasattr(task, "columns_in") else task.columns


def _check_rows(task: Any, examples: Examples | TokenFolder, rows: TextRows | DocumentRows, *, training: bool) -> None:
    """There must be a token, and for training a target: a run would learn nothing, and not say so."""
    if (training and _is_blank(task, examples)) or not np.any(rows.row_lengths):
        raise UserError(
            f"No batch can be made of {examples.source}: the task {task.name} finds no word in any of its "
            f"{len(examples)} examples. Are the texts empty, or is it the wrong column?"
        )
    if training and isinstance(rows, TextRows) and not rows.has_targets:
        raise UserError(
            f"There is nothing to learn from in {examples.source}: none of its {len(examples)} examples gives the task "
            f"{task.name} a target. Are the texts too short?"
        )


def _is_blank(task: Any, examples: Examples | TokenFolder) -> bool:
    """Whether all texts that the task reads are empty."""
    if isinstance(examples, TokenFolder):
        return False
    columns = [examples[name] for name, kind in columns_in(task, examples).items() if kind == "string"]
    return bool(columns) and not any(str(text).strip() for column in columns for text in column)


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
    edges = pieces(sizes, rows=1024, characters=1 << 20)
    dataset = tf.data.Dataset.from_tensor_slices((edges[:-1], edges[1:])).map(
        lambda start, end: task.tokenize({name: values[start:end] for name, values in columns.items()}),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    made = list(dataset)
    for piece, start in zip(made, edges, strict=False):
        piece["row"] = piece["row"] + tf.cast(start, piece["row"].dtype)
    return {name: tf.concat([piece[name] for piece in made], axis=0) for name in made[0]}
