r"""Reads the regular expressions that output may be held to: a subset of Python's ``re`` that automata can follow.

There are characters and their escapes, ``.``, ``\d \w \s \D \W \S`` (of ASCII, as under ``re.ASCII``), classes
``[a-z]`` and ``[^...]``, groups, alternatives, the quantifiers ``* + ? {m} {m,} {m,n}``, and ``(?i:...)`` or a leading
``(?i)`` for ASCII letters of either case. A pattern always means the whole text, as in ``re.fullmatch``: anchors are
not written. What looks around, counts back or remembers groups is an error.
"""

from dataclasses import dataclass

from kzoo.errors import UserError

Ranges = tuple[tuple[int, int], ...]
"""First and last code points, sorted, apart from each other."""

LAST = 0x10FFFF
MOST_REPEATS = 1000
_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 13), (32, 32))
_SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}
_SUBSET = "characters, classes, groups, alternatives, ., \\d \\w \\s, (?i:...) and the quantifiers * + ? {m,n}"


@dataclass(frozen=True)
class Characters:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True)
class Sequence:
    """Parts one after the other; none match the empty text."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """One of several."""

    branches: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A part so many times; None for any number."""

    part: "Node"
    least: int
    most: int | None


Node = Characters | Sequence | Choice | Repeat


def merged(ranges) -> Ranges:
    """Ranges sorted, and those that touch made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def without(ranges: Ranges) -> Ranges:
    """All code points but these."""
    found, start = [], 0
    for first, last in ranges:
        if first > start:
            found.append((start, first - 1))
        start = last + 1
    return (*found, (start, LAST)) if start <= LAST else tuple(found)


ANY = Characters(((0, LAST),))
_DOT = Characters(without(((10, 10),)))


def literal(text: str) -> Node:
    """A text that means itself."""
    return Sequence(tuple(Characters(((ord(c), ord(c)),)) for c in text))


def parse(pattern: str) -> Node:
    """What a pattern means.

    Raises:
        UserError: it is none, or holds what no automaton can follow; says what, and where.
    """
    if not isinstance(pattern, str):
        raise UserError(f"A pattern is a text. Received {pattern!r}.")
    parser = _Parser(pattern)
    try:
        folded = parser.skip("(?i)")
        node = parser.alternatives(folded)
        if parser.place < len(pattern):
            raise ValueError(f"an unexpected {pattern[parser.place]!r} at {parser.place}")
    except ValueError as error:
        raise UserError(f"A pattern is made of {_SUBSET}. Received {pattern!r}: it holds {error}.") from None
    except IndexError:
        raise UserError(f"A pattern is made of {_SUBSET}. Received {pattern!r}: it breaks off.") from None
    except RecursionError:
        raise UserError(f"A pattern's groups are not that deep. Received {pattern[:40]!r}...") from None
    return node


class _Parser:
    """Descends through a pattern, of which ``place`` is the next character."""

    def __init__(self, pattern: str):
        self.pattern, self.place = pattern, 0

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        self.place += 1
        return self.pattern[self.place - 1]

    def skip(self, text: str) -> bool:
        """Whether the pattern goes on with a text; goes past it."""
        found = self.pattern.startswith(text, self.place)
        self.place += len(text) * found
        return found

    def alternatives(self, folded: bool) -> Node:
        branches = [self.sequence(folded)]
        while self.skip("|"):
            branches.append(self.sequence(folded))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def sequence(self, folded: bool) -> Node:
        parts = []
        while self.peek() and self.peek() not in "|)":
            parts.append(self.quantified(self.item(folded)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def quantified(self, node: Node) -> Node:
        limits = self.limits()
        if limits is None:
            return node
        if self.peek() == "+":
            raise ValueError(f"a possessive quantifier at {self.place - 1}")
        self.skip("?")  # lazy: the same texts match
        begin = self.place
        if self.limits() is not None:
            raise ValueError(f"a quantifier after a quantifier at {begin}")
        return Repeat(node, *limits)

    def limits(self) -> tuple[int, int | None] | None:
        for sign, (least, most) in {"?": (0, 1), "*": (0, None), "+": (1, None)}.items():
            if self.skip(sign):
                return least, most
        close = self.pattern.find("}", self.place)
        inside = self.pattern[self.place + 1 : close].split(",") if self.peek() == "{" and close > 0 else []
        if len(inside) not in (1, 2) or not all(one == "" or (one.isascii() and one.isdigit()) for one in inside):
            return None  # as in re, a brace that is no quantifier is a character
        if inside == [""]:
            return None
        self.place = close + 1
        least = int(inside[0] or 0)
        most = least if len(inside) == 1 else int(inside[1]) if inside[1] else None
        if max(least, most or 0) > MOST_REPEATS:
            raise ValueError(f"more than {MOST_REPEATS} repetitions before {self.place}")
        if most is not None and most < least:
            raise ValueError(f"a quantifier whose most is below its least before {self.place}")
        return least, most

    def item(self, folded: bool) -> Node:
        begin, c = self.place, self.take()
        if c == "(":
            return self.group(folded, begin)
        if c == "[":
            return Characters(self.members(folded))
        if c == ".":
            return _DOT
        if c == "\\":
            return Characters(self.cased(self.escape(), folded))
        if c in "^$":
            raise ValueError(f"an anchor {c!r} at {begin}, while a pattern always means the whole text")
        if c in "*+?":
            raise ValueError(f"a quantifier of nothing at {begin}")
        return Characters(self.cased(((ord(c), ord(c)),), folded))

    def group(self, folded: bool, begin: int) -> Node:
        if self.skip("?i:"):
            folded = True
        elif not self.skip("?:") and self.peek() == "?":
            raise ValueError(f"a group {self.pattern[begin : begin + 4]!r} at {begin}")
        node = self.alternatives(folded)
        if not self.skip(")"):
            raise ValueError(f"a group at {begin} that does not end")
        return node

    def escape(self) -> Ranges:
        """The set of an escape, behind its backslash."""
        begin, c = self.place - 1, self.take()
        if c.lower() in _SETS:
            ranges = _SETS[c.lower()]
            return ranges if c.islower() else without(ranges)
        if c in _HEXADECIMAL:
            digits = self.pattern[self.place : self.place + _HEXADECIMAL[c]]
            self.place += len(digits)
            try:
                number = int(digits, 16) if len(digits) == _HEXADECIMAL[c] else -1
            except ValueError:
                number = -1
            if not 0 <= number <= LAST:
                raise ValueError(f"a broken escape at {begin}")
            return ((number, number),)
        if c == "0" and self.peek().isdigit():
            raise ValueError(f"an octal escape at {begin}")
        c = _ESCAPED.get(c, c)
        if c.isalnum():
            raise ValueError(f"an escape {self.pattern[begin : begin + 2]!r} at {begin}")
        return ((ord(c), ord(c)),)

    def members(self, folded: bool) -> Ranges:
        """The set of a class, behind its bracket."""
        begin = self.place - 1
        negated = self.skip("^")
        found: list[tuple[int, int]] = []
        is_first = True
        while is_first or not self.skip("]"):
            if not self.peek():
                raise ValueError(f"a class at {begin} that does not end")
            is_first = False
            ranges = self.member()
            if self.peek() == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", ""):
                self.take()
                other = self.member()
                if not _is_one(ranges) or not _is_one(other) or other[0][0] < ranges[0][0]:
                    raise ValueError(f"a range that is none before {self.place}")
                ranges = ((ranges[0][0], other[0][0]),)
            found += ranges
        ranges = self.cased(merged(found), folded)
        return without(ranges) if negated else ranges

    def member(self) -> Ranges:
        c = self.take()
        if c == "\\":
            if self.skip("b"):
                return ((8, 8),)
            return self.escape()
        return ((ord(c), ord(c)),)

    @staticmethod
    def cased(ranges: Ranges, folded: bool) -> Ranges:
        """The set with ASCII letters of the other case."""
        if not folded:
            return ranges
        other = [
            (max(first, low) + shift, min(last, high) + shift)
            for first, last in ranges
            for low, high, shift in ((65, 90, 32), (97, 122, -32))
            if max(first, low) <= min(last, high)
        ]
        return merged([*ranges, *other])


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]
