"""Which rows form which batch, decided in numpy before anything is read: a pure function of lengths, seed and epoch."""

from dataclasses import dataclass

import numpy as np

from kzoo.data.orders import shuffled
from kzoo.errors import UserError

# N rows, S steps, B batch size

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


def plan_batches(
    row_lengths: np.ndarray,
    *,
    batch_size: int,
    lengths: tuple[int, ...],
    training: bool,
    seed: int = 0,
    epoch: int = 0,
) -> Plan:
    """Plans the batches of one epoch.

    Each row goes into the shortest bucket that holds it. What does not fill a batch moves up to the next bucket, so
    that every row is in exactly one batch and all batches but the last of the longest bucket are full: there are
    always ``ceil(N / B)`` of them. Training shuffles rows and batches; evaluation goes from short to long.
    """
    if training:
        order = shuffled(len(row_lengths), seed=seed, epoch=epoch)
    else:
        order = np.argsort(row_lengths, kind="stable")
    bucket_of = np.searchsorted(lengths, row_lengths[order])
    batches: list[tuple[np.ndarray, int]] = []
    waiting = np.array([], dtype=np.int64)
    for bucket, length in enumerate(lengths):
        rows = np.concatenate([waiting, order[bucket_of == bucket]])
        full = len(rows) - len(rows) % batch_size
        batches += [(rows[start : start + batch_size], length) for start in range(0, full, batch_size)]
        waiting = rows[full:]
        if len(waiting) and not (bucket_of > bucket).any():
            batches.append((waiting, length))
            break
    if training:
        batches = [batches[step] for step in shuffled(len(batches), seed=seed, epoch=epoch, stream=1)]
    return Plan(
        rows=np.stack([np.pad(rows, (0, batch_size - len(rows)), mode="edge") for rows, _ in batches]).astype(np.int32),
        counts=np.array([len(rows) for rows, _ in batches], dtype=np.int32),
        lengths=np.array([length for _, length in batches], dtype=np.int32),
        tokens=np.array([row_lengths[rows].sum() for rows, _ in batches], dtype=np.int64),
    )
