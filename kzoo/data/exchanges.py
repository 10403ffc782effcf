"""Rows of which only parts are to be learned: answers to prompts, and what an assistant says in a conversation."""

from dataclasses import dataclass

import numpy as np

from kzoo.data.packing import fitted
from kzoo.data.spans import Spans, edges_of

# E exchanges, N ids of all of them, W rows

LEARNED, PREFIX, NUMBER = 1, 2, 4
"""What a tag is the sum of: whether the token is learned, whether it precedes all that are, and ``NUMBER`` times the
number of the document in its row, from 1 on."""
NO_ANSWER = "without an answer"
"""Why an example may be left out."""


@dataclass(frozen=True)
class Exchanges:
    """Prompts with their answers, or conversations, one after the other.

    Attributes:
        ids: int32 ``[N]``, special tokens included.
        learned: boolean ``[N]``: the tokens to be predicted.
        edges: int64 ``[E + 1]``, where each exchange begins, and the end of the last.
        examples: int64 ``[E]``, the example that each came from.
        left_out: how many examples gave none, by the reason.
    """

    ids: np.ndarray
    learned: np.ndarray
    edges: np.ndarray
    examples: np.ndarray
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.examples)

    def spans(self, length: int, *, packs: bool) -> Spans:
        """The rows: one for each exchange, or by best fit as many in a row as it holds.

        Args:
            length: most tokens of a row; no exchange may be longer.
            packs: whether a row holds several.
        """
        sizes = np.diff(self.edges)
        row = fitted(sizes, length) if packs else np.arange(len(self))
        order = np.argsort(row, kind="stable")  # of exchanges
        first_of_row = np.searchsorted(row[order], np.arange(row.max() + 1))
        number = np.empty(len(self), np.int64)  # of an exchange within its row
        number[order] = np.arange(len(self)) - first_of_row[row[order]] + 1

        owner = np.repeat(np.arange(len(self)), sizes)  # [N]
        learned_before = edges_of(self.learned.astype(np.int64))  # [N + 1], of all before each token
        is_prefix = learned_before[1:] == learned_before[self.edges[owner]]
        tags = NUMBER * number[owner] + PREFIX * is_prefix + LEARNED * self.learned
        changes = np.flatnonzero((np.diff(tags, prepend=-1) != 0) | (np.diff(owner, prepend=-1) != 0))
        ends = np.append(changes[1:], len(self.ids))
        rank = np.empty(len(self), np.int64)
        rank[order] = np.arange(len(self))
        by_row = np.argsort(rank[owner[changes]], kind="stable")
        return Spans(
            starts=changes[by_row].astype(np.int64),
            sizes=(ends - changes)[by_row].astype(np.int32),
            tags=tags[changes][by_row].astype(np.int32),
            row_splits=edges_of(np.bincount(row[owner[changes]], minlength=len(first_of_row))),
            length=len(self.ids),
            literals=np.zeros(0, np.int32),
            documents=self.examples[order[first_of_row]].astype(np.int32),
        )
