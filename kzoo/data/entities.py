"""Entities of texts: where they begin and end, and of what type they are, from the forms that files have them in."""

import json
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

from kzoo.data.examples import Examples
from kzoo.errors import UserError

_TYPE = ("type", "label", "entity_group", "tag")
_FORM = '{"start": 0, "end": 5, "type": "person"} or [0, 5, "person"]'


class Entity(NamedTuple):
    """A part of a text.

    Attributes:
        start: its first character, in code points.
        end: the character behind its last.
        type: what it is.
    """

    start: int
    end: int
    type: str


def entities_of(examples: Examples, column: str = "entities") -> list[list[Entity]]:
    """The entities of each example, in the order of the text, without white space at their ends.

    Args:
        examples: with ``text`` and the column.
        column: of lists, each entity a dict with ``start``, ``end`` and ``type`` (or ``label``), or a list of the
            three; or of such lists as JSON. Offsets count code points, the end is exclusive.

    Raises:
        UserError: what is no entity, lies outside of its text, holds only white space, or overlaps another; says in
            which row.
    """
    rows = zip(examples["text"].tolist(), examples[column].tolist(), strict=True)
    return [_checked(text, value, f"Row {number} of {examples.source}") for number, (text, value) in enumerate(rows, 1)]


def types_of(examples: Examples, column: str = "entities") -> list[str]:
    """All types of entities that occur, sorted.

    Raises:
        UserError: there is no entity at all.
    """
    found = sorted({entity.type for row in entities_of(examples, column) for entity in row})
    if not found:
        raise UserError(f"{examples.source} holds no entity in any of its {len(examples)} texts. Is it the right file?")
    return found


def _checked(text: str, value: Any, where: str) -> list[Entity]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError:
            raise UserError(f"{where}: entities must be a list, or one as JSON. Received {value[:60]!r}.") from None
    if not isinstance(value, list | tuple):
        raise UserError(f"{where}: entities must be a list of {_FORM}. Received {value!r}.")
    found = sorted((_entity(text, one, where) for one in value), key=lambda one: one[:2])
    for first, second in zip(found, found[1:], strict=False):
        if second.start < first.end:
            raise UserError(
                f"{where}: entities must not overlap. {_shown(text, first)} and {_shown(text, second)} do. "
                "Keep one of them."
            )
    return found


def _entity(text: str, value: Any, where: str) -> Entity:
    start: Any
    end: Any
    if isinstance(value, Mapping):
        name = next((name for name in _TYPE if name in value), None)
        start, end, kind = value.get("start"), value.get("end"), value.get(name) if name else None
    else:
        start, end, kind = value if isinstance(value, list | tuple) and len(value) == 3 else (None, None, None)
    offsets = [one for one in (start, end) if not isinstance(one, bool) and isinstance(one, Integral)]
    if len(offsets) != 2 or not isinstance(kind, str) or not kind.strip():
        raise UserError(f"{where}: an entity is {_FORM}. Received {value!r}.")
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{where}: an entity must lie inside of its text, which has {len(text)} characters. "
            f"Received start={start}, end={end}. Offsets count characters (code points, not bytes), and the end is "
            "exclusive."
        )
    inside = text[start:end]
    if not inside.strip():
        raise UserError(f"{where}: an entity must hold more than white space. Received start={start}, end={end}.")
    start += len(inside) - len(inside.lstrip())
    return Entity(start, end - (len(inside) - len(inside.rstrip())), kind.strip())


def _shown(text: str, entity: Entity) -> str:
    return f"{text[entity.start : entity.end]!r} ({entity.start} to {entity.end}, {entity.type})"
