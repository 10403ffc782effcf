"""Tags that say of each word where it stands in an entity (Ramshaw and Marcus 1995), and the entities that they mean.

A tag is ``O`` (outside of every entity), a place and a type (``B-person``), or a type alone, which is a place inside.
"""

import re
from collections.abc import Sequence

OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(5)
PREFIXES = "OBIES"  # of the places above
SCHEMES = {"IO": "I", "BIO": "BI", "BIOES": "BIES"}
"""Which places a scheme writes."""

_OTHER_NAMES = {"L": "E", "U": "S"}  # last and unit, of BILOU
_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)


def parse(tag: str) -> tuple[int, str]:
    """The place and the type of a tag; of ``O`` the type is empty."""
    if tag == "O":
        return OUTSIDE, ""
    found = _TAG.fullmatch(tag)
    if found is None:
        return INSIDE, tag
    return PREFIXES.index(_OTHER_NAMES.get(found[1], found[1])), found[2]


def has_prefix(tag: str) -> bool:
    """Whether a tag names its place: ``B-person``, not ``person``."""
    return _TAG.fullmatch(tag) is not None


def begins(place, kind, previous_place, previous_kind):
    """Whether an entity begins at a word: the rule of CoNLL's ``conlleval``, which forgives what is no proper sequence.

    A word inside of an entity begins one where none goes on: after a word outside, after an end, after another type.

    Args:
        place: of the word, an int, or an array or tensor of them, as are the others.
        kind: its type, of any kind that can be compared.
        previous_place: of the word before it; ``OUTSIDE`` where it is the first.
        previous_kind: the type of that.
    """
    opens = (place == BEGIN) | (place == SINGLE)
    closed = (previous_place == OUTSIDE) | (previous_place == END) | (previous_place == SINGLE)
    return (place != OUTSIDE) & (opens | closed | (kind != previous_kind))


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The entities of a sequence of tags: first word, the word behind the last, type."""
    found: list[tuple[int, int, str]] = []
    before = (OUTSIDE, "")
    for number, tag in enumerate(tags):
        place, kind = parse(tag)
        if begins(place, kind, *before):
            found.append((number, number + 1, kind))
        elif place != OUTSIDE:
            found[-1] = (found[-1][0], number + 1, kind)
        before = (place, kind)
    return found


def tags_of_types(types: Sequence[str], scheme: str) -> list[str]:
    """All tags of a scheme: ``O``, then those of each type."""
    return ["O", *(f"{prefix}-{one}" for one in types for prefix in SCHEMES[scheme])]
