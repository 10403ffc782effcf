"""Splits into training and held-out examples: the same rows for the same seed, on every machine."""

import numpy as np

from kzoo.data.examples import Examples
from kzoo.data.orders import shuffled
from kzoo.errors import UserError


def split(
    examples: Examples,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
) -> tuple[Examples, Examples]:
    """Splits examples in two; each part keeps the examples' order.

    Args:
        examples: at least two. Of one single long text (a column ``text`` alone) the end is held out, cut at a line.
        held_out: the share to hold out if below 1, else the number of examples.
        seed: chooses the rows.
        stratify: a column whose values are to have the same shares in both parts.
        group: a column whose values are each to be in one part only, the title of an article for example: examples of
            one group resemble one another. Whole groups are held out, as near to ``held_out`` as the seed's order of
            them allows.

    Returns:
        ``(train, held_out)``.
    """
    count = len(examples)
    if count == 1 and examples.keys() == ["text"] and 0 < held_out < 1:
        return _cut_text(examples, held_out)
    number = round(held_out * count) if held_out < 1 else held_out
    if held_out <= 0 or number != int(number) or not 0 < number < count:
        raise UserError(
            f"held_out must leave examples on both sides: a share between 0 and 1, or a number below {count}. "
            f"Received held_out={held_out} for {count} examples of {examples.source}."
        )
    number = int(number)
    order = shuffled(count, seed=seed)
    if group is not None:
        if stratify is not None:
            raise UserError("Rows are held out by group or by stratify, one of the two. Received both.")
        rows = _grouped(examples, group, number, seed)
    else:
        rows = order[:number] if stratify is None else _stratified(examples[stratify], order, number)
    is_held_out = np.zeros(count, dtype=bool)
    is_held_out[rows] = True
    return examples.take(np.flatnonzero(~is_held_out)), examples.take(np.flatnonzero(is_held_out))


def _grouped(examples: Examples, group: str, number: int, seed: int) -> np.ndarray:
    """Rows of whole groups: in the seed's order each that brings their number nearer to the one asked for."""
    rows_of: dict = {}
    for row, value in enumerate(examples[group].tolist()):
        rows_of.setdefault(value, []).append(row)
    if len(rows_of) < 2:
        raise UserError(
            f"Holding out by group needs two different values of {group} or more. {examples.source} has only "
            f"{next(iter(rows_of))!r}."
        )
    names = sorted(rows_of, key=str)
    chosen: list[int] = []
    for place in shuffled(len(names), seed=seed).tolist():
        rows = rows_of[names[place]]
        if abs(len(chosen) + len(rows) - number) < abs(len(chosen) - number):
            chosen += rows
    if not chosen or len(chosen) == len(examples):  # one group outweighs all others together
        chosen = min(rows_of.values(), key=len)
    return np.array(chosen)


def _stratified(values: np.ndarray, order: np.ndarray, number: int) -> np.ndarray:
    """Gives each value its share of ``number``, by largest remainders, so that the sum is exact."""
    classes: dict = {}
    for row in order.tolist():
        classes.setdefault(values[row], []).append(row)
    names = sorted(classes, key=str)
    exact = np.array([len(classes[name]) for name in names]) * (number / len(order))
    shares = np.floor(exact).astype(int)
    for place in np.argsort(shares - exact, kind="stable")[: number - shares.sum()]:
        shares[place] += 1
    return np.array([row for name, share in zip(names, shares, strict=True) for row in classes[name][:share]])


def _cut_text(examples: Examples, held_out: float) -> tuple[Examples, Examples]:
    text = examples["text"][0]
    near = int(len(text) * (1 - held_out))
    cut = text.find("\n", near) + 1 or near
    first, second = text[:cut], text[cut:]
    if not first.strip() or not second.strip():
        raise UserError(f"{examples.source} is one text of {len(text)} characters, too short to hold out a part.")
    return Examples({"text": [first]}, source=examples.source), Examples({"text": [second]}, source=examples.source)
