"""Rows of two texts worked out for all sentences at once: those that a loop over the sentences gives."""

from types import SimpleNamespace

import numpy as np
import pytest

from kzoo.data import sentence_pairs as module
from kzoo.data.documents import Documents
from kzoo.data.sentence_pairs import heads, sentence_keys, sentence_pairs, uniform
from kzoo.data.spans import ArrayStream, edges_of

TEMPLATE = SimpleNamespace(before=(1,), between=(2,), after=(3,))


def documents_of(counts, *, seed=0, longest=30):
    """Documents of so many sentences each, over the ids 0, 1, 2 ..."""
    edges = edges_of(np.random.default_rng(seed).integers(1, longest, sum(counts)))
    places = edges[edges_of(np.array(counts))]
    stream = ArrayStream(np.arange(edges[-1]))
    return Documents(stream=stream, starts=places[:-1], ends=places[1:], sentences=edges)


def by_a_loop(documents, room, *, short_share, seed):
    """The definition (Devlin et al. 2019, appendix A.2), a row and a draw at a time, and how much was cut."""
    edges = documents.sentences.tolist()
    firsts = [edges.index(start) for start in documents.starts]
    lasts = [edges.index(end) for end in documents.ends]
    number = 0
    for document, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        place = first
        while place < last:
            key = sentence_keys(np.array([number + place - first]), seed=seed, copy=0)

            def between(stream, low, high, key=key):
                return low + int(uniform(key, stream)[0] * (high - low + 1))

            target = between(1, 2, room) if uniform(key, 0)[0] < short_share else room
            end = place + 1
            while end < last and edges[end] - edges[place] < target:
                end += 1
            split = place + (between(2, 1, end - place - 1) if end - place > 1 else 1)
            is_random = end - place == 1 or uniform(key, 3)[0] < 0.5
            one = [edges[place], edges[split]]
            if is_random:
                other = between(4, 0, len(firsts) - 2)
                other += other >= document
                begin = stop = between(5, firsts[other], lasts[other] - 1)
                while stop == begin or (stop < lasts[other] and edges[stop] - edges[begin] < target - one[1] + one[0]):
                    stop += 1
                two, place = [edges[begin], edges[stop]], split
            else:
                two, place = [edges[split], edges[end]], end
            lost = [0, 0]
            while one[1] - one[0] + two[1] - two[0] - sum(lost) > room:
                longer = 0 if one[1] - one[0] - lost[0] > two[1] - two[0] - lost[1] else 1
                lost[longer] += 1
            yield document, one, two, lost, int(is_random)
        number += last - first


@pytest.mark.parametrize("at_once", [1 << 21, 7])
@pytest.mark.parametrize(("room", "longest", "short_share"), [(40, 30, 0.1), (25, 60, 0.5), (120, 10, 0.0)])
def test_rows_are_those_of_the_loop(monkeypatch, at_once, room, longest, short_share):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    documents = documents_of([1, 9, 2, 40, 1, 17, 5], longest=longest)
    spans = sentence_pairs(documents, room + 3, template=TEMPLATE, short_share=short_share, seed=11)
    ids, segments, sizes, labels = spans.read(documents.stream, np.arange(len(spans)))
    rows = np.split(np.arange(len(ids)), np.cumsum(sizes)[:-1])
    expected = list(by_a_loop(documents, room, short_share=short_share, seed=11))
    assert len(rows) == len(expected) > 12
    for row, label, document, (its, one, two, lost, is_random) in zip(
        rows, labels, spans.documents, expected, strict=True
    ):
        assert (document, label) == (its, is_random)
        first, second = ids[row][segments[row] == 0][1:-1], ids[row][segments[row] == 1][:-1]
        for found, (start, end), number in ((first, one, lost[0]), (second, two, lost[1])):
            assert len(found) == end - start - number
            assert start <= found[0] and found[-1] < end and (np.diff(found) == 1).all()


def test_copies_and_seeds_differ_and_parts_of_the_work_do_not_matter(monkeypatch):
    documents = documents_of([30] * 6)

    def rows(**options):
        return sentence_pairs(documents, 40, template=TEMPLATE, **options).starts.tolist()

    one, both = rows(seed=1), rows(seed=1, copies=2)
    assert both[: len(one)] == one and both[len(one) :] != one and rows(seed=2) != one
    monkeypatch.setattr(module, "_AT_ONCE", 50)
    assert rows(seed=1, copies=2) == both


def test_half_of_the_tosses_are_heads():
    tosses = np.tile([0, 1, 2, 63, 64, 65, 1000], 3000)
    found = heads(sentence_keys(np.arange(len(tosses)), seed=0, copy=0), 6, tosses)
    assert (found[tosses == 0] == 0).all() and (found <= tosses).all() and (found >= 0).all()
    for number in (1, 2, 63, 64, 65, 1000):
        of_these = found[tosses == number]
        assert of_these.mean() == pytest.approx(number / 2, abs=4 * np.sqrt(number / 4 / 3000))
        assert of_these.var() == pytest.approx(number / 4, rel=0.12)
