"""Reads and writes run configs: YAML to a checked RunConfig, overrides, and errors that say where and what was meant.

Imports neither TensorFlow nor Keras.
"""

import difflib
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from kzoo.errors import UserError
from kzoo.training.config import RunConfig

Schema = TypeVar("Schema", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans and floats: ``yes`` stays a string, ``5e-5`` is a number. A key given twice is an error."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf)|\.nan)$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, *, where: str) -> Any:
    """Parses YAML 1.2 text. UserError names ``where`` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def read_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Reads a run config.

    Args:
        path: the YAML file.
        overrides: ``"training.batch_size=16"`` and the like; the values are YAML.

    Returns:
        The checked config.

    Raises:
        UserError: what is wrong, at which line and key, and the key that was probably meant.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"There is no config file {path}. Those that come with kzoo lie under configs/.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a config: {' '.join(str(error).split())}") from error
    content = parse_yaml(text, where=str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold keys and values, as in `model: ...`. It holds {type(content).__name__}.")
    sources = {place: f"{path}, line {line}" for place, line in _lines(text)}
    for override in overrides or []:
        place = apply_override(content, override)
        sources[place] = f"override {override!r}"
    return check(content, RunConfig, where=str(path), sources=sources)


def apply_override(content: dict, override: str) -> tuple[str, ...]:
    """Sets one ``dotted.key=value`` in ``content``; returns the key's parts."""
    key, equals, value = override.partition("=")
    parts = tuple(key.strip().split("."))
    if not equals or not all(parts):
        raise UserError(f"An override is written key=value, as in training.batch_size=16. Received: {override!r}.")
    section = content
    for depth, part in enumerate(parts[:-1]):
        inner = section.get(part)
        if inner is None:
            inner = section[part] = {}
        if not isinstance(inner, dict):
            raise UserError(f"Override {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a section.")
        section = inner
    section[parts[-1]] = parse_yaml(value, where=f"Override {override!r}")
    return parts


def check(content: Mapping, schema: type[Schema], *, where: str, sources: Mapping | None = None) -> Schema:
    """Checks plain values against a schema; UserError lists every complaint, with its place."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        complaints = list(dict.fromkeys(_explain(error, schema, where, sources or {})))
        raise UserError("\n".join(complaints)) from error


def to_yaml(config: BaseModel) -> str:
    """The config as resolved, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def differences(old: Mapping, new: Mapping, *, prefix: str = "") -> list[str]:
    """Lines ``key: old -> new`` for what differs between two configs given as plain values."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        place = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, prefix=f"{place}.")
        elif before != after:
            lines.append(f"{place}: {before!r} -> {after!r}")
    return lines


def _lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields (path of keys, line number from 1) for every key of a YAML document."""

    def walk(node, place):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*place, str(key.value))
                yield inner, key.start_mark.line + 1
                yield from walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                yield from walk(value, (*place, str(index)))

    yield from walk(yaml.compose(text, Loader=_Loader), ())


def _explain(error: ValidationError, schema: type[BaseModel], where: str, sources: Mapping) -> Iterator[str]:
    known = dict(_keys(schema))
    for one in error.errors():
        # a union's member shows up in the place as the member's type, which no user wrote
        place = tuple(str(part) for part in one["loc"] if not re.search(r"Config$|^str$|\[", str(part)))
        at = next((sources[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in sources), where)
        name = ".".join(place)
        if one["type"] == "extra_forbidden":
            yield f"{at}: unknown key {name}{_meant(place, known)}"
        elif one["type"] == "missing":
            yield f"{at}: {name} is missing."
        else:
            message = one["msg"].removeprefix("Value error, ").rstrip(".")
            received = "" if one["type"] == "value_error" else f" Received: {one['input']!r}."
            yield f"{at}: {name}: {message[0].lower() + message[1:]}.{received}"


def _meant(place: tuple[str, ...], known: dict[tuple[str, ...], None]) -> str:
    section, key = place[:-1], place[-1]
    siblings = [path[-1] for path in known if path[:-1] == section]
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {'.'.join((*section, near[0]))}?"
    elsewhere = [path for path in known if path[-1] == key] or [
        path for path in known if difflib.get_close_matches(key, [path[-1]], n=1, cutoff=0.75)
    ]
    if elsewhere:
        return f"; did you mean {'.'.join(elsewhere[0])}?"
    return f"; known here: {', '.join(siblings)}."


def _keys(schema: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], None]]:
    for name, field in schema.model_fields.items():
        yield (*place, name), None
        for section in _sections(field.annotation):
            yield from _keys(section, (*place, name))


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _sections(member)
