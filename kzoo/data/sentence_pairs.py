"""Pairs of texts for next sentence prediction, drawn once by a seed, as BERT's training data were.

What is drawn for a row depends on the seed, the copy and the sentence with which it begins, by integer arithmetic alone
(SplitMix64). So the row that would begin with any sentence is worked out for all of them together; which of them do
begin one follows from where the row before ends.
"""

from collections.abc import Iterator

import numpy as np

from kzoo.data.documents import Documents
from kzoo.data.orders import GOLDEN, mix
from kzoo.data.packing import composed, literal
from kzoo.data.spans import Spans, edges_of
from kzoo.errors import UserError

# D documents, S sentences, W rows

# what is drawn of a sentence with which a row may begin; each has numbers of its own
_IS_SHORT, _TARGET, _SPLIT, _IS_RANDOM, _OTHER, _BEGIN, _FRONT = range(7)

_AT_ONCE = 1 << 21  # sentences whose rows are worked out together


def sentence_pairs(
    documents: Documents, max_length: int, *, template, short_share: float = 0.1, copies: int = 1, seed: int = 0
) -> Spans:
    """Rows of two texts, of which in half of the cases the second comes from another document.

    Sentences are gathered until a row is full; the first text is some of them, the second the others, or as many
    tokens of another document, and the others are then used again (Devlin et al. 2019, section 3.1 and appendix A.2).
    What is too long loses tokens at the front or at the end.

    Args:
        documents: with their sentences, two at least.
        max_length: most tokens of a row, special ones included.
        template: of the tokenizer: the special tokens around and between the texts.
        short_share: share of rows that aim at a length drawn evenly instead of ``max_length``.
        copies: how often all documents are gone through, each time drawn differently.
        seed: of the draws.

    Returns:
        Rows whose tags are segments, 0 and 1, and whose label is 1 where the second text does not follow the first.

    Raises:
        UserError: fewer than two documents with tokens, or no room beside the special tokens.
    """
    assert documents.sentences is not None
    room = max_length - len(template.before) - len(template.between) - len(template.after)
    if room < 2:
        raise UserError(f"max_length must leave room for two texts beside the special tokens. Received {max_length}.")
    edges = documents.sentences
    firsts, lasts = np.searchsorted(edges, documents.starts), np.searchsorted(edges, documents.ends)
    filled = np.flatnonzero(lasts > firsts)
    if len(filled) < 2:
        raise UserError(
            "Next sentence prediction needs two documents or more, to draw from another what does not follow. "
            f"There {'is' if len(filled) == 1 else 'are'} {len(filled)}. Part documents by an empty line (document: "
            "paragraph), or use fill_mask."
        )
    firsts, lasts = firsts[filled], lasts[filled]
    parts = [
        _pairs(part, edges, firsts, lasts, room, short_share, seed, copy)
        for copy in range(copies)
        for part in _parts(firsts, lasts)
    ]
    document, first_start, first_end, second_start, second_end, label = np.concatenate(parts, axis=1)
    rows, stream = len(document), len(documents.stream)
    one = np.ones(rows, np.int64)
    positions = np.cumsum([stream, len(template.before), len(template.between)])
    columns = [
        literal(rows, positions[0], len(template.before)),
        (first_start, first_end - first_start, one, 0),
        literal(rows, positions[1], len(template.between)),
        (second_start, second_end - second_start, one, 1),
        (*literal(rows, positions[2], len(template.after))[:3], 1),
    ]
    return composed(
        columns,
        length=stream,
        literals=np.array([*template.before, *template.between, *template.after], np.int32),
        documents=filled[document],
        labels=label.astype(np.int32),
    )


def uniform(keys: np.ndarray, stream: int) -> np.ndarray:
    """Numbers of at least 0 and below 1, one of each key: uint64 ``[S]`` to float64 ``[S]``."""
    return (mix(keys + mix(np.uint64(stream))) >> np.uint64(11)) * 2.0**-53


def sentence_keys(numbers: np.ndarray, *, seed: int, copy: int) -> np.ndarray:
    """A key for each sentence by its number, uint64 ``[S]``."""
    start = mix(mix(np.uint64(seed % 2**64)) + np.uint64(copy))
    with np.errstate(over="ignore"):
        return mix(start + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))


def _parts(firsts: np.ndarray, lasts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of documents that have about ``_AT_ONCE`` sentences together."""
    edges = edges_of(lasts - firsts)
    begin = 0
    while begin < len(firsts):
        end = max(int(np.searchsorted(edges, edges[begin] + _AT_ONCE, side="right")) - 1, begin + 1)
        yield begin, end
        begin = end


def _pairs(part, edges, firsts, lasts, room, short_share, seed, copy):
    """The rows of some documents: the documents' numbers, the edges of both texts in the stream, and the labels."""
    counts = (lasts - firsts)[slice(*part)]
    document = np.repeat(np.arange(*part), counts)  # [S], as all below: the row that would begin with each sentence
    within = np.arange(len(document)) - np.repeat(edges_of(counts)[:-1], counts)
    place = firsts[document] + within
    keys = sentence_keys(within + edges_of(lasts - firsts)[document], seed=seed, copy=copy)
    target = np.where(uniform(keys, _IS_SHORT) < short_share, _between(keys, _TARGET, 2, room), room)
    # the fewest sentences from here that reach the target, or all that are left
    end = np.minimum(np.searchsorted(edges, edges[place] + target, side="left"), lasts[document])
    end = np.maximum(end, place + 1)
    several = end - place >= 2
    split = place + np.where(several, _between(keys, _SPLIT, 1, np.maximum(end - place - 1, 1)), 1)
    is_random = ~several | (uniform(keys, _IS_RANDOM) < 0.5)
    # of a random second text, the sentences that were not used come again
    after = np.where(is_random, split, end) - place
    begun = np.array(_chain(edges_of(counts).tolist(), after.tolist()), np.int64)  # [W]

    document, keys, is_random = document[begun], keys[begun], is_random[begun]
    first_start, first_end = edges[place[begun]], edges[split[begun]]
    other = _between(keys, _OTHER, 0, len(firsts) - 2)
    other += other >= document
    begin = _between(keys, _BEGIN, firsts[other], lasts[other] - 1)
    wanted = np.maximum(target[begun] - (first_end - first_start), 1)
    stop = np.maximum(np.searchsorted(edges, edges[begin] + wanted, side="left"), begin + 1)
    stop = np.minimum(stop, lasts[other])
    second_start = edges[np.where(is_random, begin, split[begun])]
    second_end = edges[np.where(is_random, stop, end[begun])]
    texts = _cut(first_start, first_end, second_start, second_end, room, keys)
    return np.stack([document, *texts, is_random.astype(np.int64)])


def _chain(edges: list[int], after: list[int]) -> list[int]:
    """The sentences that begin a row: the first of each document, and that ``after`` so many from each of them."""
    begun = []
    for place, last in zip(edges, edges[1:], strict=False):
        while place < last:
            begun.append(place)
            place += after[place]
    return begun


def _between(keys: np.ndarray, stream: int, low, high) -> np.ndarray:
    """Integers from ``low`` to ``high``, both included."""
    return low + (uniform(keys, stream) * (high - low + 1)).astype(np.int64)


def _cut(first_start, first_end, second_start, second_end, room, keys):
    """Takes tokens from the longer text, at its front or its end, until both have room.

    First the longer one shrinks to the other's length; then both do by turns, the second first. Each token goes from
    the front or the end with even chance.
    """
    excess = np.maximum(first_end - first_start + second_end - second_start - room, 0)
    difference = (first_end - first_start) - (second_end - second_start)
    alone = np.minimum(excess, np.abs(difference))
    by_turns = excess - alone
    from_first = np.where(difference > 0, alone, 0) + by_turns // 2
    from_second = np.where(difference > 0, 0, alone) + (by_turns + 1) // 2
    first_front = heads(keys, _FRONT, from_first)
    second_front = heads(keys, _FRONT + 1, from_second)
    return (
        first_start + first_front,
        first_end - (from_first - first_front),
        second_start + second_front,
        second_end - (from_second - second_front),
    )


def heads(keys: np.ndarray, stream: int, tosses: np.ndarray) -> np.ndarray:
    """How many of so many tosses of a coin are heads: the ones among as many bits. Int64 ``[W]``."""
    words = (tosses + 63) // 64
    edges = edges_of(words)
    row = np.repeat(np.arange(len(tosses)), words)
    number = np.arange(edges[-1]) - edges[row]  # of the word in its row
    with np.errstate(over="ignore"):
        starts = mix(keys + mix(np.uint64(stream)))[row]
        bits = mix(starts + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    used = np.minimum(tosses[row] - 64 * number, 64).astype(np.uint64)  # from 1 to 64
    ones = np.bitwise_count(bits >> (np.uint64(64) - used)).astype(np.int64)
    return np.diff(edges_of(ones)[edges])
