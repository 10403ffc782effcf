"""Running text as token ids: documents, and the sentences in them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.spans import ArrayStream, Stream, edges_of
from kzoo.errors import UserError

# D documents, S sentences


@dataclass(frozen=True)
class Documents:
    """Documents over a stream of ids, without special tokens around them.

    Attributes:
        stream: the ids.
        starts: int64 ``[D]``, where each document begins in the stream.
        ends: int64 ``[D]``.
        sentences: int64 ``[S + 1]``, ascending: where sentences begin, and the end of the last; None when they are not
            known.
    """

    stream: Stream
    starts: np.ndarray
    ends: np.ndarray
    sentences: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def without(self, first: int) -> "Documents":
        """The documents without their first id, where it is this one. Reads an id of each."""
        filled = np.flatnonzero(self.ends > self.starts)
        starts = np.array(self.starts, np.int64)
        starts[filled] += self.stream.take(starts[filled]) == first
        return replace(self, starts=starts)


def from_texts(tokenizer, texts: Sequence[str], *, sentences: bool = False) -> Documents:
    """Tokenizes texts, each a document.

    Args:
        tokenizer: any of kzoo's.
        texts: with ``sentences``, one sentence a line.
        sentences: whether lines are sentences.
    """
    ids, document_sizes, sentence_sizes = tokenized(tokenizer, texts, sentences=sentences)
    edges = edges_of(document_sizes)
    return Documents(
        stream=ArrayStream(ids),
        starts=edges[:-1],
        ends=edges[1:],
        sentences=edges_of(sentence_sizes) if sentence_sizes is not None else None,
    )


def tokenized(
    tokenizer, texts: Sequence[str], *, sentences: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Token ids of texts one after the other.

    Special tokens that begin every text of the model are left away where a text begins with them: they are put there
    when rows are made.

    Returns:
        Ids int32, the sizes of documents int64 and, with ``sentences``, those of sentences that have tokens.
    """
    if sentences:
        lines = [[line.strip() for line in text.splitlines() if line.strip()] for text in texts]
        ids, sizes = _in_pieces(tokenizer, [line for document in lines for line in document])
        edges = edges_of(np.array([len(document) for document in lines], np.int64))
        return ids, np.diff(edges_of(sizes)[edges]), sizes[sizes > 0]
    ids, sizes = _in_pieces(tokenizer, texts)
    return *_without(tokenizer.template.before, ids, sizes), None


def _in_pieces(tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokenizes several pieces at once and joins them: ids int32 and sizes int64."""
    if not len(texts):
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    with tf.device("CPU:0"):
        pieces = list(in_parallel(tokenizer.tokenize, texts))
    flat = [piece.ids.flat_values.numpy() for piece in pieces]
    return np.concatenate(flat), np.concatenate([piece.ids.row_lengths().numpy() for piece in pieces])


def in_parallel(function: Callable[[tf.Tensor], Any], texts: Sequence[str]) -> Iterable[Any]:
    """What a function makes of pieces of the texts, in their order."""
    values = tf.constant(list(texts))
    edges = pieces([len(text) for text in texts], rows=1024, characters=1 << 20)
    if len(edges) == 2:
        return [function(values)]
    return tf.data.Dataset.from_tensor_slices((edges[:-1], edges[1:])).map(
        lambda start, end: function(values[start:end]), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def pieces(sizes: Sequence[int], *, rows: int, characters: int) -> np.ndarray:
    """Edges of pieces that have at most so many rows, and hardly more than so many characters."""
    edges = [0]
    held = 0
    for row, size in enumerate(sizes):
        if row > edges[-1] and (row - edges[-1] >= rows or held + size > characters):
            edges.append(row)
            held = 0
        held += size
    return np.array([*edges, len(sizes)], dtype=np.int64)


def _without(before: Sequence[int], ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the ids that a document begins with, where it begins with all of them."""
    if not len(before):
        return ids, sizes
    starts = edges_of(sizes)[:-1]
    begins = sizes >= len(before)
    for place, one in enumerate(before):
        begins &= ids[np.minimum(starts + place, len(ids) - 1)] == one if len(ids) else False
    kept = np.ones(len(ids), bool)
    for place in range(len(before)):
        kept[starts[begins] + place] = False
    return ids[kept], sizes - len(before) * begins


def as_texts(values: Sequence, *, source: str, column: str) -> list[str]:
    """Documents as texts: a text as it is, a list of sentences as one sentence a line.

    Raises:
        UserError: a value of another kind.
    """
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = "\n".join(" ".join(one.split()) for one in value)
        if not isinstance(value, str):
            raise UserError(
                f"{column} of {source} must hold texts, or lists of sentences. Row {row + 1} holds {value!r}."
            )
        texts.append(value)
    return texts
