"""Applies a family's rules, both ways: published tensors into weights, weights into published tensors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

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


def import_tensors(root, tensors: Mapping[str, np.ndarray], rules: Iterable[Rule], *, num_blocks=0, where="the file"):
    """Fills the weights under ``root`` from published tensors.

    Args:
        root: the model.
        tensors: published name to array; read one at a time.
        rules: the family's.
        num_blocks: how often rules with ``{i}`` apply.
        where: the file or directory, for errors.

    Raises:
        UserError: names on either side that nothing matches, listed and counted; a tensor of another shape or without
            a place, named; a tied tensor that differs from its twin; a weight that no tensor fills.
    """
    rules = list(expand(rules, num_blocks))
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
        tensor = tensors[rule.source]
        try:
            parts = rule.transform.forward(tensor)
        except ValueError as error:
            raise UserError(
                f"{rule.source} of {where} has shape {list(tensor.shape)}, which cannot be: {error}."
            ) from None
        for path, part in zip(rule.targets, parts, strict=True):
            weight = resolve(root, path)
            if weight is None:
                raise UserError(
                    f"{rule.source} of {where} has no place: the model built from config.json lacks {path}."
                )
            if tuple(weight.shape) != part.shape:
                raise UserError(
                    f"{rule.source} of {where} has shape {list(tensor.shape)}, but config.json asks for "
                    f"{list(weight.shape)} at {path}."
                )
            if rule.tied:
                if not np.array_equal(np.asarray(weight), part.astype(weight.dtype)):
                    raise UserError(f"{rule.source} of {where} differs from {filled[path]}, which it is tied to.")
                continue
            weight.assign(part.astype(weight.dtype))
            filled[path] = rule.source
            unfilled.pop(id(weight), None)
    if unfilled:
        raise UserError(
            f"The tensors of {where} leave {len(unfilled)} weights of the model without values: "
            f"{_some(list(unfilled.values()))}."
        )


def export_tensors(root, rules: Iterable[Rule], *, num_blocks=0, dtypes: Mapping[str, str] | None = None, dtype=None):
    """The published tensors for the weights under ``root``: the inverse of ``import_tensors``.

    Args:
        root: the model.
        rules: the family's.
        num_blocks: how often rules with ``{i}`` apply.
        dtypes: published name to dtype, as the tensors came.
        dtype: dtype of those not named there; that of the weights by default.

    Returns:
        Published name to numpy array.

    Raises:
        ValueError: a rule that is not optional names a weight that the model lacks.
    """
    tensors = {}
    for rule in expand(rules, num_blocks):
        if not rule.target or rule.tied:
            continue
        weights = [resolve(root, path) for path in rule.targets]
        if any(weight is None for weight in weights):
            if rule.optional:
                continue
            raise ValueError(f"{rule.source}: the model lacks one of {rule.targets}.")
        tensor = rule.transform.backward(tuple(np.asarray(weight) for weight in weights))
        wanted = (dtypes or {}).get(rule.source, dtype)
        tensors[rule.source] = tensor if wanted is None else tensor.astype(wanted)
    return tensors


def _is_needed(rule: Rule, root) -> bool:
    """Whether the tensor of a rule may not lack: an optional one may where the model lacks its weights, too."""
    if rule.tied or not rule.optional:
        return rule.target is not None and not rule.optional
    return any(resolve(root, path) is not None for path in rule.targets)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
