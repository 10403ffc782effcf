"""How much of a text is repetition: the measures of Gopher's data (Rae et al. 2021, arXiv:2112.11446, table A1)."""

from collections import Counter
from collections.abc import Sequence


def repeated_lines(lines: Sequence[str]) -> tuple[float, float]:
    """Shares of lines that stood before in the text, and of the characters in them."""
    seen: set[str] = set()
    number = characters = 0
    for line in lines:
        if line in seen:
            number += 1
            characters += len(line)
        seen.add(line)
    return number / max(len(lines), 1), characters / max(sum(map(len, lines)), 1)


def top_ngram(words: Sequence[str], size: int) -> float:
    """Share of the words' characters that stand in the most frequent run of so many words; 0 when all occur once."""
    counts = Counter(zip(*(words[place:] for place in range(size)), strict=False))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    # of those that are as frequent the one with most characters, so that the order of words does not matter
    longest = max(sum(map(len, run)) for run, count in counts.items() if count == most)
    return min(longest * most / sum(map(len, words)), 1.0)


def repeated_ngrams(words: Sequence[str], size: int) -> float:
    """Share of the words' characters that stand in runs of so many words which occur more than once, each word once."""
    runs = list(zip(*(words[place:] for place in range(size)), strict=False))
    counts = Counter(runs)
    covered, characters = 0, 0
    for place, run in enumerate(runs):
        if counts[run] > 1:
            begin = max(place, covered)
            characters += sum(map(len, words[begin : place + size]))
            covered = place + size
    return characters / max(sum(map(len, words)), 1)
