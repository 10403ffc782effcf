"""From a pattern to a deterministic automaton over the bytes of UTF-8."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kzoo.errors import UserError
from kzoo.generation.patterns import ANY, Characters, Choice, Node, Ranges, Repeat, Sequence

# S states

MOST_PARTS = 100_000
"""States of the automaton that is not deterministic yet."""
MOST_STATES = 8_000
"""States of one that is."""
DEAD = -1
"""The state from which nothing matches."""
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True)
class Automaton:
    """Reads a text byte by byte.

    Attributes:
        next: int32 ``[S, 256]``, the state behind each byte; ``DEAD`` where no match goes on so. State 0 is the first.
        accepts: bool ``[S]``, whether a text may end here.
    """

    next: np.ndarray
    accepts: np.ndarray

    def matches(self, text: bytes) -> bool:
        """Whether a text is one of the language."""
        state = 0
        for byte in text:
            state = self.next[state, byte]
            if state == DEAD:
                return False
        return bool(self.accepts[state])


def whole(node: Node) -> Automaton:
    """Reads the texts that match a pattern as a whole."""
    parts = _Parts()
    start, end = parts.add(node)
    return _deterministic(parts, start, accepting=lambda members: end in members)


def avoiding(node: Node) -> Automaton:
    """Reads the texts of which no part matches a pattern.

    Raises:
        UserError: the pattern matches the empty text, which is part of all.
    """
    parts = _Parts()
    loop = parts.state()
    first, last = parts.characters(ANY.ranges)
    parts.skips[loop].append(first)
    parts.skips[last].append(loop)
    start, end = parts.add(node)
    parts.skips[loop].append(start)
    if end in parts.closure({loop}):
        raise UserError("A blocked pattern must match a character at least; it matches the empty text.")
    # a text may end between characters, where the loop is
    return _deterministic(parts, loop, accepting=lambda members: loop in members, forbidden=end)


def both(one: Automaton, other: Automaton) -> Automaton:
    """Reads the texts that both read."""
    numbers = {(0, 0): 0}
    pairs, rows = [(0, 0)], []
    for left, right in pairs:
        row = np.full(256, DEAD, np.int32)
        for byte in np.flatnonzero((one.next[left] != DEAD) & (other.next[right] != DEAD)):
            pair = (int(one.next[left, byte]), int(other.next[right, byte]))
            if pair not in numbers:
                numbers[pair] = len(pairs)
                pairs.append(pair)
                _check_size(len(pairs))
            row[byte] = numbers[pair]
        rows.append(row)
    accepts = np.array([one.accepts[left] and other.accepts[right] for left, right in pairs])
    return _smallest(np.array(rows), accepts)


class _Parts:
    """An automaton with several ways to go on, and ways that take no byte (Thompson 1968)."""

    def __init__(self) -> None:
        self.skips: list[list[int]] = []
        self.edges: list[list[tuple[int, int, int]]] = []  # first byte, last byte, state

    def state(self) -> int:
        if len(self.skips) >= MOST_PARTS:
            raise UserError(f"A pattern has at most {MOST_PARTS:,} parts once its repetitions are written out.")
        self.skips.append([])
        self.edges.append([])
        return len(self.skips) - 1

    def add(self, node: Node) -> tuple[int, int]:
        """States before and behind a node."""
        if isinstance(node, Characters):
            return self.characters(node.ranges)
        start = end = self.state()
        if isinstance(node, Sequence):
            for part in node.parts:
                end = self._behind(end, part)
        elif isinstance(node, Choice):
            end = self.state()
            for branch in node.branches:
                first, last = self.add(branch)
                self.skips[start].append(first)
                self.skips[last].append(end)
        elif isinstance(node, Repeat):
            for _ in range(node.least):
                end = self._behind(end, node.part)
            if node.most is None:
                before, behind = end, self.state()
                loop = self.state()
                self.skips[before].append(loop)
                self.skips[self._behind(loop, node.part)].append(loop)
                self.skips[loop].append(behind)
                end = behind
            else:
                out = self.state()
                for _ in range(node.most - node.least):
                    self.skips[end].append(out)
                    end = self._behind(end, node.part)
                self.skips[end].append(out)
                end = out
        return start, end

    def _behind(self, state: int, node: Node) -> int:
        first, last = self.add(node)
        self.skips[state].append(first)
        return last

    def characters(self, ranges: Ranges) -> tuple[int, int]:
        """States before and behind one character."""
        start, end = self.state(), self.state()
        ways: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        for sequence in _sequences(ranges):
            after = end
            for place in range(len(sequence) - 1, 0, -1):  # ends in common are shared
                key = (after, sequence[place:])
                if key not in ways:
                    ways[key] = self.state()
                    self.edges[ways[key]].append((*sequence[place], after))
                after = ways[key]
            self.edges[start].append((*sequence[0], after))
        return start, end

    def closure(self, states: set[int]) -> frozenset[int]:
        """These states and those reached without a byte."""
        found, waiting = set(states), list(states)
        while waiting:
            for one in self.skips[waiting.pop()]:
                if one not in found:
                    found.add(one)
                    waiting.append(one)
        return frozenset(found)


def _sequences(ranges: Ranges) -> Iterator[tuple[tuple[int, int], ...]]:
    """Ranges of bytes that together spell the characters of a set in UTF-8."""
    for first, last in ranges:
        for low, high in ((first, min(last, _SURROGATES[0] - 1)), (max(first, _SURROGATES[1] + 1), last)):
            if low <= high:
                yield from _split(low, high)


def _split(low: int, high: int) -> Iterator[tuple[tuple[int, int], ...]]:
    for most in (0x7F, 0x7FF, 0xFFFF):
        if low <= most < high:
            yield from _split(low, most)
            yield from _split(most + 1, high)
            return
    for count in range(1, len(chr(low).encode())):
        mask = (1 << (6 * count)) - 1
        if (low & ~mask) != (high & ~mask):
            if low & mask:
                yield from _split(low, low | mask)
                yield from _split((low | mask) + 1, high)
                return
            if high & mask != mask:
                yield from _split(low, (high & ~mask) - 1)
                yield from _split(high & ~mask, high)
                return
    yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))


def _deterministic(parts: _Parts, start: int, *, accepting, forbidden: int | None = None) -> Automaton:
    """The same language with one way to go on; texts that come by the state ``forbidden`` are not in it."""
    first = parts.closure({start})
    numbers = {first: 0}
    subsets, rows = [first], []
    for members in subsets:
        row = np.full(256, DEAD, np.int32)
        edges = [edge for one in members for edge in parts.edges[one]]
        cuts = sorted({edge[0] for edge in edges} | {edge[1] + 1 for edge in edges})
        for low, high in zip(cuts, cuts[1:], strict=False):
            reached = {state for one, last, state in edges if one <= low <= last}
            if not reached:
                continue
            target = parts.closure(reached)
            if forbidden in target:
                continue
            if target not in numbers:
                numbers[target] = len(subsets)
                subsets.append(target)
                _check_size(len(subsets))
            row[low:high] = numbers[target]
        rows.append(row)
    return _smallest(np.array(rows), np.array([accepting(members) for members in subsets]))


def _check_size(count: int) -> None:
    if count > MOST_STATES:
        raise UserError(
            f"A pattern's automaton has at most {MOST_STATES:,} states. Make it simpler: fewer or smaller repetitions, "
            "fewer alternatives that begin alike."
        )


def _smallest(table: np.ndarray, accepts: np.ndarray) -> Automaton:
    """The least states for the same language (Moore 1956), without those from which no text ends.

    Raises:
        UserError: no text at all is in the language.
    """
    live = accepts.copy()
    while True:
        more = live | (np.where(table != DEAD, live[table], False)).any(axis=1)
        if (more == live).all():
            break
        live = more
    if not live[0]:
        raise UserError("No text matches the pattern, or every one that does is blocked.")
    table = np.where((table != DEAD) & live[table], table, DEAD)
    groups = accepts.astype(np.int64)
    count = 0
    different = np.unique(table, axis=1)  # most bytes are like others
    while True:
        following = np.where(different == DEAD, DEAD, groups[different])
        _, groups = np.unique(np.concatenate([groups[:, None], following], axis=1), axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        if groups.max() + 1 == count:
            break
        count = groups.max() + 1
    kept = [int(groups[0])]  # in the order in which they are reached
    place = {int(groups[0]): 0}
    example = {int(group): int(state) for state, group in reversed(list(enumerate(groups)))}
    rows = []
    for group in kept:
        row = table[example[group]]
        for target in np.unique(groups[row[row != DEAD]]):
            if int(target) not in place:
                place[int(target)] = len(kept)
                kept.append(int(target))
        rows.append(row)
    renamed = np.array([place.get(group, DEAD) for group in range(count)], np.int32)
    table = np.array([np.where(row == DEAD, DEAD, renamed[groups[row]]) for row in rows], np.int32)
    return Automaton(table, np.array([bool(accepts[example[group]]) for group in kept]))
