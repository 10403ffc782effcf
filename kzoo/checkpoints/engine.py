"""Applies a family's rules, both ways: published tensors into weights, weights into published tensors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.models.rules import Rule

_SHOWN = 8  # names listed in an error before "and N more"


def expand(rules: Iterable[Rule], num_blocks: int) -> Iterator[Rule]:
    """Writes a rule once for each block where it names ``{i}``."""
    for rule in rules:
        if "{i}" not in rule.source:
            yield rule
            continue
        for index in range(num_blocks):
            target = rule.target
            if target is not None:
                target = tuple(path.replace("{i}", str(index)) for path in rule.targets)
            yield replace(rule, source=rule.source.replace("{i}", str(index)), target=target)


def resolve(root, path: str):
    """The weight at a path of attributes and indices, or None when a part of the path is absent."""
    node = root
    for name in path.split("/"):
        node = node[int(name)] if name.isdigit() else getattr(node, name, None)
        if node is None:
            return None
    return node


def applicable(rules: Iterable[Rule], root, num_blocks: int = 0) -> list[Rule]:
    """The rules, blocks written out, that hold: of several for one tensor the first whose weights the model has."""
    chosen: dict[str, Rule] = {}
    for rule in expand(rules, num_blocks):
        if rule.source not in chosen or not _has_place(chosen[rule.source], root):
            chosen[rule.source] = rule
    return list(chosen.values())


def _has_place(rule: Rule, root) -> bool:
    return all(resolve(root, path) is not None for path in rule.targets)


def import_tensors(root, tensors: Mapping[str, np.ndarray], rules: Iterable[Rule], *, num_blocks=0, where="the file"):
    """Fills the weights under ``root`` from published tensors.

    Args:
        root: the model.
        tensors: published name to array. Where it can read a tensor by parts, as ``safetensors.Tensors`` can, no whole
            tensor is ever in memory beside the weights.
        rules: the family's.
        num_blocks: how often rules with ``{i}`` apply.
        where: the file or directory, for errors.

    Raises:
        UserError: names on either side that nothing matches, listed and counted; a tensor of another shape or without
            a place, named; a tied tensor that differs from its twin; a weight that no tensor fills.
    """
    rules = applicable(rules, root, num_blocks)
    missing = [rule.source for rule in rules if rule.source not in tensors and _is_needed(rule, root)]
    unexpected = sorted(set(tensors) - {rule.source for rule in rules})
    if missing or unexpected:
        lists = [
            f"{len(names)} {kind}: {_some(names)}"
            for kind, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise UserError(f"The tensors of {where} do not match the architecture in its config.json; {'; '.join(lists)}.")
    filled: dict[str, str] = {}
    unfilled = {id(weight): weight.path for weight in getattr(root, "weights", ())}
    for rule in rules:
        if not rule.target or rule.source not in tensors:
            continue
        weights = _places(root, rule, _shape(tensors, rule.source), where)
        axis = rule.transform.first_axis
        for start, rows in _rows(tensors, rule.source, whole=axis is None):
            for weight, part in zip(weights, rule.transform.forward(rows), strict=True):
                if not rule.tied:
                    _assign(weight, part, start, axis)
                elif not np.array_equal(_read(weight, part, start, axis), part.astype(weight.dtype)):
                    twin = filled.get(rule.targets[0], rule.targets[0])
                    raise UserError(f"{rule.source} of {where} differs from {twin}, which it is tied to.")
        for path, weight in zip(rule.targets, weights, strict=True):
            filled.setdefault(path, rule.source)
            unfilled.pop(id(weight), None)
    if unfilled:
        raise UserError(
            f"The tensors of {where} leave {len(unfilled)} weights of the model without values: "
            f"{_some(list(unfilled.values()))}."
        )


def _places(root, rule: Rule, shape: tuple[int, ...], where: str) -> list:
    """The weights that a tensor of this shape fills."""
    try:  # on an array of that shape that takes no memory
        parts = rule.transform.forward(np.broadcast_to(np.zeros((), np.int8), shape))
    except ValueError as error:
        raise UserError(f"{rule.source} of {where} has shape {list(shape)}, which cannot be: {error}.") from None
    weights = []
    for path, part in zip(rule.targets, parts, strict=True):
        weight = resolve(root, path)
        if weight is None:
            raise UserError(f"{rule.source} of {where} has no place: the model built from config.json lacks {path}.")
        if tuple(weight.shape) != part.shape:
            raise UserError(
                f"{rule.source} of {where} has shape {list(shape)}, but config.json asks for {list(weight.shape)} at "
                f"{path}."
            )
        weights.append(weight)
    return weights


def _shape(tensors, name: str) -> tuple[int, ...]:
    return tensors.shape_of(name) if hasattr(tensors, "shape_of") else tensors[name].shape


def _rows(tensors, name: str, *, whole: bool) -> Iterator[tuple[int, np.ndarray]]:
    """A tensor by parts along its first axis, each with the row it begins at."""
    return iter([(0, tensors[name])]) if whole or not hasattr(tensors, "rows") else tensors.rows(name)


def _assign(weight, part: np.ndarray, start: int, axis: int | None) -> None:
    part = part.astype(weight.dtype)
    if part.shape == tuple(weight.shape):
        weight.assign(part)
        return
    begin, end = _bounds(part, start, axis)
    # weight.value[...].assign would read the whole variable first, and then copy it to write a part
    tf.raw_ops.ResourceStridedSliceAssign(
        ref=weight.value.handle, begin=begin, end=end, strides=[1] * part.ndim, value=tf.constant(part)
    )
    # a variable that was written in part is copied whole at every later read until it is told that no more comes
    tf.raw_ops.DisableCopyOnRead(resource=weight.value.handle)


def _read(weight, part: np.ndarray, start: int, axis: int | None) -> np.ndarray:
    begin, end = _bounds(part, start, axis)
    return np.asarray(tf.strided_slice(weight.value, begin, end)) if part.ndim else np.asarray(weight)


def _bounds(part: np.ndarray, start: int, axis: int | None) -> tuple[list[int], list[int]]:
    """Where a part begins and ends in the weight that it is a part of."""
    begin, end = [0] * part.ndim, list(part.shape)
    if part.ndim:
        begin[axis or 0] += start
        end[axis or 0] += start
    return begin, end


def export_tensors(
    root,
    rules: Iterable[Rule],
    *,
    num_blocks=0,
    dtypes: Mapping[str, str] | None = None,
    dtype=None,
    leaves: tuple[str, ...] = (),
) -> Iterator[tuple[str, np.ndarray]]:
    """The published tensors for the weights under ``root``, one after the other: the inverse of ``import_tensors``.

    Args:
        root: the model.
        rules: the family's.
        num_blocks: how often rules with ``{i}`` apply.
        dtypes: published name to dtype, as the tensors came. A tied tensor is written only if it is named here.
        dtype: dtype of those not named there; that of the weights by default.
        leaves: beginnings of paths of weights that are left out.

    Yields:
        Published name and array.

    Raises:
        ValueError: a rule that is not optional names a weight that the model lacks.
    """
    dtypes = dtypes or {}
    for rule in applicable(rules, root, num_blocks):
        if not rule.target or (rule.tied and rule.source not in dtypes) or rule.targets[0].startswith(leaves or "/"):
            continue
        if not _has_place(rule, root):
            if rule.optional:
                continue
            raise ValueError(f"{rule.source}: the model lacks one of {rule.targets}.")
        tensor = rule.transform.backward(tuple(_value(root, path) for path in rule.targets))
        wanted = dtypes.get(rule.source, dtype)
        yield rule.source, tensor if wanted is None else tensor.astype(wanted, copy=False)


def _value(root, path: str) -> np.ndarray:
    """The value of a weight; that of a matrix with an adapter has the adapter's change in it."""
    parent, _, name = path.rpartition("/")
    layer = resolve(root, parent) if parent else root
    if name == "kernel" and getattr(layer, "adapter", None) is not None:
        return layer.merged_kernel()
    return np.asarray(resolve(root, path))


def _is_needed(rule: Rule, root) -> bool:
    """Whether the tensor of a rule may not lack: an optional one may where the model lacks its weights, too."""
    if rule.tied or not rule.optional:
        return rule.target is not None and not rule.optional
    return any(resolve(root, path) is not None for path in rule.targets)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
