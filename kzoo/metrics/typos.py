"""Slips of the keyboard: seeded noise on the letters of a text."""

import numpy as np

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_KINDS = ("neighbour", "left out", "doubled", "exchanged")


def _neighbours() -> dict[str, str]:
    """Of each letter those beside it on an American keyboard."""
    found = {}
    for row, letters in enumerate(_ROWS):
        for place, letter in enumerate(letters):
            beside = letters[max(place - 1, 0) : place] + letters[place + 1 : place + 2]
            below = _ROWS[row + 1][max(place - 1, 0) : place + 1] if row + 1 < len(_ROWS) else ""
            above = _ROWS[row - 1][place : place + 2] if row else ""
            found[letter] = beside + below + above
    return found


NEIGHBOURS = _neighbours()


def with_typos(text: str, rate: float, random: np.random.Generator) -> str:
    """A text of which each letter is mistyped with a probability.

    A slip is one of four, equally likely: the letter beside it on the keyboard (of letters that have no such one: left
    out), the letter left out, typed twice, or exchanged with the one behind it.

    Args:
        text: the text.
        rate: the probability, from 0 to 1.
        random: where the slips come from; the same one gives the same text.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1. Received {rate}.")
    slips = random.random(len(text)) < rate
    kinds = random.integers(0, len(_KINDS), len(text))
    choices = random.integers(0, 2**31, len(text))
    letters, typed, place = list(text), [], 0
    while place < len(letters):
        letter = letters[place]
        kind = _KINDS[kinds[place]] if slips[place] and letter.isalpha() else ""
        beside = NEIGHBOURS.get(letter.lower(), "")
        if kind == "neighbour" and beside:
            instead = beside[choices[place] % len(beside)]
            typed.append(instead.upper() if letter.isupper() else instead)
        elif kind == "doubled":
            typed += [letter, letter]
        elif kind == "exchanged" and place + 1 < len(letters):
            typed += [letters[place + 1], letter]
            place += 1
        elif kind in ("", "exchanged"):
            typed.append(letter)
        place += 1
    return "".join(typed)
