"""Which rows form which batch, decided in numpy before anything is read: a pure function of lengths, seed and epoch."""

from dataclasses import dataclass

import numpy as np

from kzoo.data.orders import shuffled
from kzoo.errors import UserError

# N rows, S steps, B batch size, K buckets, W workers

# Steps of a quarter to a half: finer ones save little padding and, under XLA, cost a compilation each.
BUCKETS = (16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096)


@dataclass(frozen=True)
class Plan:
    """The batches of one epoch.

    Attributes:
        rows: int32 ``[S, B]``; the places of a partial batch that are left over repeat its last row.
        counts: int32 ``[S]``, how many places of each batch are real; all B but in one batch at most.
        lengths: int32 ``[S]``, the length to which each batch is padded.
        tokens: int64 ``[S]``, the real tokens of each batch.
    """

    rows: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def slices(self, replicas: int, mine: range, start_step: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, counts and lengths of some of the equal slices of each batch, slice by slice, from ``start_step`` on.

        All replicas of a step have the same length; the places that are not real stand at the end of the batch, so the
        last replicas have fewer rows that count, or none.

        Args:
            replicas: in how many slices each batch is cut; must divide B.
            mine: the numbers of the slices wanted.
            start_step: the first batch.

        Returns:
            ``[Z, B / replicas]``, ``[Z]`` and ``[Z]`` for ``Z = (S - start_step) * len(mine)``.
        """
        share = self.rows.shape[1] // replicas
        if share * replicas != self.rows.shape[1] or mine.stop > replicas:
            raise ValueError(
                f"replicas must divide the batch, and mine lie below it. Received replicas={replicas}, mine={mine} for "
                f"{self.rows.shape[1]} rows."
            )
        numbers = np.array(mine, dtype=np.int32)
        rows = self.rows[start_step:].reshape(-1, replicas, share)[:, numbers].reshape(-1, share)
        counts = np.clip(self.counts[start_step:, None] - numbers * share, 0, share).astype(np.int32).reshape(-1)
        return rows, counts, np.repeat(self.lengths[start_step:], len(numbers))

    @property
    def histogram(self) -> dict[int, int]:
        """Batches of each length."""
        lengths, batches = np.unique(self.lengths, return_counts=True)
        return dict(zip(lengths.tolist(), batches.tolist(), strict=True))

    @property
    def padding(self) -> float:
        """The share of padding among all positions."""
        return 1.0 - float(self.tokens.sum()) / float((self.lengths.astype(np.int64) * self.rows.shape[1]).sum())


def buckets(lengths: tuple[int, ...] | None, *, longest: int, max_length: int) -> tuple[int, ...]:
    """The lengths that batches may have, ascending. UserError when the longest row fits none of those asked for."""
    if lengths is None:
        return (*(length for length in BUCKETS if length < max_length), max_length)
    ascending = tuple(sorted({int(length) for length in lengths}))
    if not ascending or ascending[0] < 1 or ascending[-1] < longest:
        raise UserError(
            f"lengths must be positive and reach the longest row, which has {longest} tokens. Received {list(lengths)}."
        )
    return ascending


def bucket_counts(row_lengths: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """How many rows go into each bucket, int64 ``[K]``."""
    return np.bincount(np.searchsorted(lengths, row_lengths), minlength=len(lengths))


def bucket_steps(counts: np.ndarray, batch_size: int) -> np.ndarray:
    """How many batches of each length an epoch has, when each of several workers fills its part of every batch.

    Each row goes into the shortest bucket that holds it; what does not fill a batch of every worker moves up to the
    next bucket. Only the last bucket that has rows may have batches that are not full.

    Args:
        counts: int64 ``[W, K]``, rows of each worker in each of the K buckets.
        batch_size: rows that each worker brings to a batch.

    Returns:
        int64 ``[K]``, the same for all workers.
    """
    steps = np.zeros(counts.shape[1], dtype=np.int64)
    waiting = np.zeros(len(counts), dtype=np.int64)
    last = int(np.flatnonzero(counts.any(axis=0))[-1])
    for bucket in range(last + 1):
        waiting = waiting + counts[:, bucket]
        steps[bucket] = -(-waiting.max() // batch_size) if bucket == last else waiting.min() // batch_size
        waiting = waiting - steps[bucket] * batch_size
    return steps


def plan_batches(
    row_lengths: np.ndarray,
    *,
    batch_size: int,
    lengths: tuple[int, ...],
    training: bool,
    seed: int = 0,
    epoch: int = 0,
    steps: np.ndarray | None = None,
) -> Plan:
    """Plans the batches of one epoch.

    Each row goes into the shortest bucket that holds it. What does not fill a batch moves up to the next bucket, so
    that every row is in exactly one batch and all batches but the last of the longest bucket are full: there are
    always ``ceil(N / B)`` of them. Training shuffles rows and batches; evaluation goes from short to long.

    ``steps``, from ``bucket_steps``, says how many batches each bucket has where several workers plan their own rows;
    a worker that runs out of rows has batches at the end of the longest bucket with few real rows or none.
    """
    if steps is None:
        steps = bucket_steps(bucket_counts(row_lengths, lengths)[None], batch_size)
    if training:
        order = shuffled(len(row_lengths), seed=seed, epoch=epoch)
    else:
        order = np.argsort(row_lengths, kind="stable")
    bucket_of = np.searchsorted(lengths, row_lengths[order])
    batches: list[tuple[np.ndarray, int]] = []
    waiting = np.array([], dtype=np.int64)
    for bucket, length in enumerate(lengths):
        rows = np.concatenate([waiting, order[bucket_of == bucket]])
        taken = int(steps[bucket]) * batch_size
        batches += [(rows[start : start + batch_size], length) for start in range(0, taken, batch_size)]
        waiting = rows[taken:]
    if training:
        batches = [batches[step] for step in shuffled(len(batches), seed=seed, epoch=epoch, stream=1)]
    return Plan(
        rows=np.stack([_filled(rows, batch_size) for rows, _ in batches]).astype(np.int32),
        counts=np.array([len(rows) for rows, _ in batches], dtype=np.int32),
        lengths=np.array([length for _, length in batches], dtype=np.int32),
        tokens=np.array([row_lengths[rows].sum() for rows, _ in batches], dtype=np.int64),
    )


def plan_poisson(
    row_lengths: np.ndarray,
    *,
    batch_size: int,
    places: int,
    steps: int,
    lengths: tuple[int, ...],
    seed: int,
    epoch: int = 0,
) -> Plan:
    """Plans batches that each row joins by itself, with the probability ``batch_size / N`` (Poisson sampling).

    Args:
        row_lengths: ``[N]``.
        batch_size: the expected number of rows of a batch.
        places: of every batch, B; see ``poisson_places``.
        steps: batches of an epoch.
        lengths: those that batches may have, ascending; a batch has that of its longest row.
        seed: of the draws.
        epoch: which.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    chosen = []
    for _ in range(steps):
        rows = np.flatnonzero(random.random(len(row_lengths)) < batch_size / len(row_lengths))
        chosen.append(random.permutation(rows)[:places])
    longest = np.array([row_lengths[rows].max(initial=1) for rows in chosen])
    return Plan(
        rows=np.stack([_filled(rows, places) for rows in chosen]).astype(np.int32),
        counts=np.array([len(rows) for rows in chosen], dtype=np.int32),
        lengths=np.array(lengths, dtype=np.int32)[np.searchsorted(lengths, longest)],
        tokens=np.array([row_lengths[rows].sum() for rows in chosen], dtype=np.int64),
    )


def poisson_places(batch_size: int, multiple: int = 1) -> int:
    """Places that a batch of so many expected rows needs: beyond them the chance is below 1e-12 (Chernoff's bound)."""
    surplus = 0.0
    while batch_size + surplus > 0:
        mean, most = float(batch_size), batch_size + surplus
        if most - mean + most * np.log(mean / most) <= np.log(1e-12):
            break
        surplus += 1
    return -(-int(most) // multiple) * multiple


def _filled(rows: np.ndarray, batch_size: int) -> np.ndarray:
    return np.pad(rows, (0, batch_size - len(rows)), mode="edge") if len(rows) else np.zeros(batch_size, np.int64)
