"""Bounds of a document's size and letters, and Gopher's of its lines and words."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial

from kzoo.data.preparing.config import Filters
from kzoo.data.preparing.repetition import repeated_lines, repeated_ngrams, top_ngram

_BULLETS = ("•", "‣", "▪", "●", "◦", "-", "*", "–")
_SYMBOLS = re.compile(r"#|\.\.\.|…")


class Text:
    """A text and what is measured of it, each only when it is asked for."""

    def __init__(self, text: str):
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """What stands between white space."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not empty, without white space around them."""
        return [line for line in (line.strip() for line in self.text.split("\n")) if line]

    @cached_property
    def repeated_lines(self) -> tuple[float, float]:
        """Shares of lines that stood before, and of the characters in them."""
        return repeated_lines(self.lines)

    def share(self, chosen: int, among: Sequence) -> float:
        """Of so many, 0 among none."""
        return chosen / len(among) if among else 0.0


Measure = Callable[[Text], float]

MEASURES: dict[str, Measure] = {
    "characters": lambda text: len(text.text),
    "words": lambda text: len(text.words),
    "lines": lambda text: len(text.lines),
    "letters": lambda text: sum(map(str.isalpha, text.text)) / max(sum(map(len, text.words)), 1),
    "words_with_letters": lambda text: text.share(sum(any(map(str.isalpha, word)) for word in text.words), text.words),
    "word_length": lambda text: text.share(sum(map(len, text.words)), text.words),
    "symbols": lambda text: text.share(len(_SYMBOLS.findall(text.text)), text.words),
    "bullet_lines": lambda text: text.share(sum(line.startswith(_BULLETS) for line in text.lines), text.lines),
    "ellipsis_lines": lambda text: text.share(sum(line.endswith(("...", "…")) for line in text.lines), text.lines),
    "repeated_lines": lambda text: text.repeated_lines[0],
    "repeated_line_characters": lambda text: text.repeated_lines[1],
}


class Filter:
    """Calling it gives the first bound that a text breaks, with the measure, or None.

    Args:
        rules: the bounds.
    """

    def __init__(self, rules: Filters):
        rules = rules.resolved()
        self._checks: list[tuple[str, Measure, float | None, float | None]] = []
        for name, measure in MEASURES.items():
            least, most = getattr(rules, f"least_{name}", None), getattr(rules, f"most_{name}", None)
            if least is not None or most is not None:
                self._checks.append((name, measure, least, most))
        for words, share in sorted(rules.most_top_ngram.items()):
            self._checks.append((f"top_{words}_gram", partial(_of_words, top_ngram, words), None, share))
        for words, share in sorted(rules.most_repeated_ngrams.items()):
            self._checks.append((f"repeated_{words}_grams", partial(_of_words, repeated_ngrams, words), None, share))

    def __call__(self, text: str) -> tuple[str, float] | None:
        measured = Text(text)
        for name, measure, least, most in self._checks:
            value = measure(measured)
            if least is not None and value < least:
                return f"least_{name}", value
            if most is not None and value > most:
                return f"most_{name}", value
        return None


def _of_words(measure: Callable[[Sequence[str], int], float], size: int, text: Text) -> float:
    return measure(text.words, size)
