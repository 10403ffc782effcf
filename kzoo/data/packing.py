"""How running text becomes rows: documents cut and packed into blocks, for language models."""

import numpy as np

from kzoo.data.documents import Documents
from kzoo.data.spans import Layout, Spans, edges_of
from kzoo.errors import UserError

# D documents, P pieces, W blocks, L length of a block

WINDOW = 1 << 22
"""Tokens among which documents are gathered into a block, so that what is read together lies near."""


def packed(documents: Documents, length: int, *, before=(), after=()) -> Spans:
    """Blocks that hold whole documents where they fit, each marked with its own number, from 1 on.

    A document longer than a block is cut into pieces that share one token, so that each of its tokens but the first is
    predicted once. Documents and pieces fill blocks by best fit, longest first (Ding et al. 2024): nothing that fits
    is cut, and little is padded.

    Args:
        documents: to learn from.
        length: most tokens of a block, at least 2.
        before: ids that begin each document.
        after: ids that end it.

    Raises:
        UserError: no document has two tokens.
    """
    layout = Layout(documents.starts, documents.ends, before=before, after=after, length=len(documents.stream))
    sizes = np.diff(layout.edges)
    pieces = np.maximum(-(-(sizes - 1) // (length - 1)), 0)  # of each document; of one token nothing is learned
    document = np.repeat(np.arange(len(sizes)), pieces)
    if not len(document):
        raise _nothing(int(sizes.max(initial=0)))
    number = np.arange(len(document)) - np.repeat(edges_of(pieces)[:-1], pieces)  # of the piece in its document
    starts = layout.edges[document] + number * (length - 1)
    ends = np.minimum(starts + length, layout.edges[document + 1])
    block = fitted(ends - starts, length)
    order = np.argsort(block, kind="stable")
    starts, ends, block = starts[order], ends[order], block[order]
    span_starts, span_sizes, counts = layout.cut(starts, ends)
    first_of_block = np.searchsorted(block, np.arange(block[-1] + 1))
    tags = np.arange(len(block)) - first_of_block[block] + 1
    return Spans(
        starts=span_starts,
        sizes=span_sizes.astype(np.int32),
        tags=np.repeat(tags, counts).astype(np.int32),
        row_splits=edges_of(np.bincount(block, weights=counts).astype(np.int64)),
        length=layout.length,
        literals=layout.literals,
        documents=document[order][first_of_block].astype(np.int32),
    )


def joined(documents: Documents, length: int, *, before=(), after=()) -> Spans:
    """Blocks of ``length`` tokens cut from the documents joined end to end, as GPT-2 was trained; nothing is padded.

    Neighbouring blocks share one token, so that each token but the very first is predicted once. The last block holds
    what is left. All of a block is marked with 1: a token looks at what precedes it, in whatever document.

    Args:
        documents, length, before, after: as for ``packed``.

    Raises:
        UserError: fewer than two tokens in all.
    """
    layout = Layout(documents.starts, documents.ends, before=before, after=after, length=len(documents.stream))
    total = int(layout.edges[-1])
    if total < 2:
        raise _nothing(total)
    starts = np.arange(0, total - 1, length - 1, dtype=np.int64)
    span_starts, span_sizes, counts = layout.cut(starts, np.minimum(starts + length, total))
    return Spans(
        starts=span_starts,
        sizes=span_sizes.astype(np.int32),
        tags=np.ones(len(span_starts), np.int32),
        row_splits=edges_of(counts),
        length=layout.length,
        literals=layout.literals,
        documents=(np.searchsorted(layout.edges, starts, side="right") - 1).astype(np.int32),
    )


def windows(documents: Documents, length: int, *, before=(), after=(), separator=None) -> Spans:
    """Rows of at most ``length`` tokens with special tokens around each, for encoders; nothing is left out.

    Args:
        documents: to learn from.
        length: most tokens of a row, the special ones included.
        before: ids that begin each row.
        after: ids that end it.
        separator: None: each row holds a part of one document. An id: rows are filled up, document after document, and
            this id stands between two of them (FULL-SENTENCES, Liu et al. 2019, section 4.2).

    Raises:
        UserError: there is no room beside the special tokens, or no token in the documents.
    """
    room = length - len(before) - len(after)
    if room < 1:
        raise UserError(f"max_length must leave room beside {length - room} special tokens. Received {length}.")
    between = () if separator is None else (separator,)
    stream = len(documents.stream)
    filled = np.flatnonzero(documents.ends > documents.starts)
    layout = Layout(documents.starts[filled], documents.ends[filled], after=between, length=stream)
    sizes = np.diff(layout.edges) - len(between)
    if not len(filled):
        raise UserError("There is nothing to learn from: the texts have no tokens.")
    if separator is None:
        counts = -(-sizes // room)
        document = np.repeat(np.arange(len(sizes)), counts)
        starts = layout.edges[document] + (np.arange(len(document)) - np.repeat(edges_of(counts)[:-1], counts)) * room
        ends = np.minimum(starts + room, layout.edges[document + 1])
    else:
        starts = np.arange(0, layout.edges[-1], room, dtype=np.int64)
        ends = np.minimum(starts + room, layout.edges[-1])
        separators = layout.edges[1:] - 1
        ends = ends - np.isin(ends - 1, separators)  # at the edges of a row a separator would say nothing
        starts = starts + np.isin(starts, separators)
        kept = starts < ends
        starts, ends = starts[kept], ends[kept]
        document = np.searchsorted(layout.edges, starts, side="right") - 1
    span_starts, span_sizes, counts = layout.cut(starts, ends)
    literals = np.array([*layout.literals, *before, *after], np.int32)
    edge = stream + len(between)
    return composed(
        [
            literal(len(starts), edge, len(before)),
            (span_starts, span_sizes, counts, 0),
            literal(len(starts), edge + len(before), len(after)),
        ],
        length=stream,
        literals=literals,
        documents=filled[document],
    )


Column = tuple[np.ndarray, np.ndarray, np.ndarray, int]
"""Starts and sizes of spans, how many of them each row has, and their tag."""


def literal(rows: int, start: int, size: int) -> Column:
    """The same span in each row."""
    return np.full(rows, start, np.int64), np.full(rows, size, np.int64), np.ones(rows, np.int64), 0


def composed(columns: list[Column], *, length: int, literals: np.ndarray, documents: np.ndarray, labels=None) -> Spans:
    """Rows that have the spans of the first column, then those of the second, and so on.

    Args:
        columns: of spans.
        length: ids of the stream.
        literals, documents, labels: see ``Spans``.
    """
    place = np.concatenate(
        [
            np.repeat(np.arange(len(counts)) * len(columns) + one, counts)
            for one, (_, _, counts, _) in enumerate(columns)
        ]
    )
    order = np.argsort(place, kind="stable")
    sizes = np.concatenate([column[1] for column in columns])[order]
    order, sizes = order[sizes > 0], sizes[sizes > 0]
    return Spans(
        starts=np.concatenate([column[0] for column in columns])[order],
        sizes=sizes.astype(np.int32),
        tags=np.concatenate([np.full(len(column[0]), column[3], np.int32) for column in columns])[order],
        row_splits=edges_of(np.bincount(place[order] // len(columns), minlength=len(documents))),
        length=length,
        literals=literals,
        documents=documents.astype(np.int32),
        labels=labels,
    )


def fitted(sizes: np.ndarray, length: int) -> np.ndarray:
    """The block of each piece, int64 ``[P]``: by best fit among neighbours, blocks numbered without gaps."""
    block = np.empty(len(sizes), np.int64)
    window = (edges_of(sizes)[:-1]) // max(WINDOW, length)
    blocks = 0
    for one in np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(window)) + 1):
        block[one] = blocks + _best_fit(sizes[one], length)
        blocks = int(block[one].max()) + 1
    return block


def _best_fit(sizes: np.ndarray, length: int) -> np.ndarray:
    """The block of each piece by best fit, longest first: a piece goes where least room is left over.

    Pieces of one size are placed together, since they fill the blocks of one room in the same way.
    """
    block = np.empty(len(sizes), np.int64)
    order = np.argsort(-sizes, kind="stable")
    open_blocks: dict[int, list[np.ndarray]] = {}  # room to blocks that have it
    count = 0
    for same in np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1):
        size = int(sizes[same[0]])
        while len(same):
            room = min((room for room in open_blocks if room >= size), default=None)
            if room is None:
                room = length
                blocks = np.arange(count, count + -(-len(same) // (length // size)))
                count += len(blocks)
            else:
                blocks = np.concatenate(open_blocks.pop(room))
            each = room // size
            used = blocks[: -(-len(same) // each)]
            placed = min(len(same), each * len(used))
            block[same[:placed]] = np.repeat(used, each)[:placed]
            held = np.full(len(used), each)
            held[-1] = placed - each * (len(used) - 1)
            for left in np.unique(room - held * size):
                open_blocks.setdefault(int(left), []).append(used[room - held * size == left])
            if len(used) < len(blocks):
                open_blocks.setdefault(room, []).append(blocks[len(used) :])
            same = same[placed:]
    # blocks in the order in which their first piece stands in the text
    firsts = np.full(count, len(sizes), np.int64)
    np.minimum.at(firsts, block, np.arange(len(sizes)))
    rank = np.empty(count, np.int64)
    rank[np.argsort(firsts)] = np.arange(count)
    return rank[block]


def _nothing(tokens: int) -> UserError:
    return UserError(f"A language model learns from two tokens or more. The text has {tokens}.")
