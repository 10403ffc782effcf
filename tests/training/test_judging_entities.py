"""Figures of entities, against seqeval and by hand."""

import random

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data import tags
from kzoo.data.entities import entities_of
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.metrics.entities import entity_counts, entity_f1, entity_f1_of_types, entity_macro_f1, is_proper
from kzoo.tasks.entity_f1 import EntityF1
from kzoo.training.judging import judge
from kzoo.training.judging.entities import Word, _of_tokens
from tests import tiny

# N texts, T words, C classes

TYPES = ["a", "b"]


def drawn(scheme, number, seed):
    """Sequences of tags of which many are improper."""
    random_ = random.Random(seed)
    classes = tags.tags_of_types(TYPES, scheme)
    return [
        random_.choices(classes, weights=[2] + [1] * (len(classes) - 1), k=random_.randrange(1, 9))
        for _ in range(number)
    ]


def counted(right, given, scheme, *, strict=False):
    def spans(row):
        found = tags.entities(row)
        places = [[tags.parse(tag)[0] for tag in row[first:until]] for first, until, _ in found]
        return [one for one, these in zip(found, places, strict=True) if not strict or is_proper(these, scheme)]

    return entity_counts(list(map(spans, right)), list(map(spans, given)), TYPES)


def pairs_of_sequences(scheme, seed):
    right = drawn(scheme, 60, seed)
    others = drawn(scheme, 60, seed + 100)
    given = [
        [one if random.Random(seed * 1000 + row * 10 + place).random() < 0.7 else other
         for place, (one, other) in enumerate(zip(here, (there * 9)[: len(here)], strict=True))]
        for row, (here, there) in enumerate(zip(right, others, strict=True))
    ]  # fmt: skip
    return right, given


@pytest.mark.parametrize("scheme", ["IO", "BIO", "BIOES"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_figures_are_those_of_seqeval(scheme, seed):
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2, IOBES

    right, given = pairs_of_sequences(scheme, seed)
    modes = [{}] if scheme == "IO" else [{}, {"mode": "strict", "scheme": IOB2 if scheme == "BIO" else IOBES}]
    for mode in modes:
        counts = counted(right, given, scheme, strict=bool(mode)).sum(0)
        report = classification_report(right, given, output_dict=True, zero_division=0, **mode)
        whole, each = entity_f1(counts), entity_f1_of_types(counts)
        assert whole["f1"] == pytest.approx(report["micro avg"]["f1-score"]) and 0 < whole["f1"] < 1
        assert whole["precision"] == pytest.approx(report["micro avg"]["precision"])
        assert whole["recall"] == pytest.approx(report["micro avg"]["recall"])
        assert entity_macro_f1(counts) == pytest.approx(report["macro avg"]["f1-score"])
        for place, kind in enumerate(TYPES):
            for name in ("precision", "recall", "support"):
                assert each[name][place] == pytest.approx(report[kind][name])
            assert each["f1"][place] == pytest.approx(report[kind]["f1-score"])


@pytest.mark.parametrize("scheme", ["IO", "BIO", "BIOES"])
def test_the_metric_of_training_counts_as_seqeval_does(scheme):
    from seqeval.metrics import f1_score

    labels = tags.tags_of_types(TYPES, scheme)
    metric = EntityF1(
        [tags.parse(label)[0] for label in labels], [len(tags.parse(label)[1]) and ord(label[-1]) for label in labels]
    )
    restored = EntityF1.from_config(metric.get_config())
    right, given = pairs_of_sequences(scheme, 3)
    filler = np.random.default_rng(0)
    update = tf.function(metric.update_state, reduce_retracing=True, jit_compile=scheme == "BIO")
    for first in range(0, len(right), 20):
        targets, logits, weights = (
            np.zeros([20, 24], np.int32),
            filler.normal(size=[20, 24, len(labels)]),
            np.zeros([20, 24]),
        )
        for row, (here, there) in enumerate(zip(right[first : first + 20], given[first : first + 20], strict=True)):
            places = np.sort(filler.choice(24, len(here), replace=False))  # words with other tokens between them
            targets[row, places] = [labels.index(one) for one in here]
            logits[row, places] = np.eye(len(labels))[[labels.index(one) for one in there]] * 9
            weights[row, places] = filler.uniform(0.5, 2, len(here))
        for one in (update, restored.update_state):
            one(tf.constant(targets), tf.constant(logits, tf.float32), tf.constant(weights, tf.float32))
    assert float(metric.result()) == float(restored.result()) == pytest.approx(f1_score(right, given))
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_a_token_of_the_data_has_the_tag_of_its_first_word():
    words = [Word(0, 1, "B-a", 0.9), Word(1, 4, "I-a", 0.8), Word(5, 6, "B-b", 0.7), Word(9, 12, "O", 0.6)]
    read = _of_tokens(words, [[0, 4], [5, 6], [7, 8], [9, 10], [10, 12], [13, 14]])
    assert [word.tag for word in read] == ["B-a", "B-b", "O", "O", "O", "O"]
    assert [word[:2] for word in read] == [(0, 4), (5, 6), (7, 8), (9, 10), (10, 12), (13, 14)]


TEXTS = [*tiny.TEXTS, "a good film", "the bad film was at it", "", "good film, bad film " * 20]


@pytest.fixture(scope="module")
def task():
    made = kzoo.Tag(tiny.pretrained("bert", num_layers=1), labels=["film", "mood"])
    random_ = np.random.default_rng(4)
    made.head.kernel.assign(random_.normal(size=made.head.kernel.shape))
    return made


@pytest.fixture(scope="module")
def examples(task):
    """What the task answers, with some mistakes put in."""
    rows = []
    for number, answer in enumerate(task.predict(TEXTS)):
        row = [{name: one[name] for name in ("start", "end", "type")} for one in answer["entities"]]
        for place, one in enumerate(row):
            if (number + place) % 3 == 1:
                one["type"] = "mood" if one["type"] == "film" else "film"
        rows.append([one for place, one in enumerate(row) if (number + place) % 4 != 2])
    return Examples({"text": TEXTS, "entities": rows})


def test_a_tagger_is_judged_by_the_entities_that_it_answers(task, examples):
    found = judge(task, examples, batch_size=3)
    right = [set(row) for row in entities_of(examples)]
    given = [{(one["start"], one["end"], one["type"]) for one in answer["entities"]} for answer in task.predict(TEXTS)]
    matched = sum(len(there & these) for there, these in zip(right, given, strict=True))
    figures = found.figures
    assert figures["entities"] == sum(map(len, right)) and figures["entities_found"] == sum(map(len, given))
    assert figures["precision"] == pytest.approx(matched / figures["entities_found"])
    assert figures["recall"] == pytest.approx(matched / figures["entities"])
    low, high = figures["f1_interval_95"]
    assert 0 < low < figures["f1"] < high <= 1
    assert figures["boundary_f1"] > figures["f1"] > 0.3
    assert figures["per_type"]["film"]["support"] == sum(kind == "film" for row in right for *_, kind in row)
    assert figures["loss"] == pytest.approx(kzoo.evaluate(task, examples)["loss"], abs=1e-5)
    matrix = np.array(figures["confusion_matrix"]["rows_are_right"])
    assert matrix[:-1].sum() == figures["entities"] and np.trace(matrix) == matched
    assert [table.title for table in found.tables] == [
        "Classes", "What went wrong", "Found where there is none", "Missed", "Of another type, or with other ends",
    ]  # fmt: skip
    wrong = dict(found.tables[1].rows)
    assert wrong["found where there is none"] == matrix[-1].sum() and wrong["missed"] == matrix[:-1, -1].sum() == 0
    assert wrong["of another type"] == sum(
        (start, end, kind) not in there and any(one[:2] == (start, end) for one in there)
        for there, these in zip(right, given, strict=True) for start, end, kind in these
    )  # fmt: skip
    for table in found.tables[2:]:
        scores = [row[-1] for row in table.rows]
        assert scores == sorted(scores, reverse=True)
    assert all("<svg" in plot.svg for plot in found.plots)
    assert judge(task, examples, batch_size=7).figures["f1"] == pytest.approx(figures["f1"])


def test_tokens_of_the_data_are_the_units_where_there_are_any(task):
    text = "bad-film was good"
    both = Examples({"text": [text], "entities": [[[0, 8, "film"]]], "tokens": [[[0, 8], [9, 12], [13, 17]]]})
    found = judge(task, both).figures
    given = task.serve_words({"text": tf.constant([text])})
    first = given["label"][0, 0].numpy().decode()
    assert found["per_type"]["film"]["support"] == 1
    words = [(0, first), (9, given["label"][0, 3].numpy().decode()), (13, given["label"][0, 4].numpy().decode())]
    ends = {0: 8, 9: 12, 13: 17}
    expected = [(words[a][0], ends[words[b - 1][0]], kind) for a, b, kind in tags.entities([tag for _, tag in words])]
    assert found["entities_found"] == len(expected)
    assert found["recall"] == float((0, 8, "film") in expected)


def test_without_entities_there_is_nothing_to_judge(task):
    with pytest.raises(UserError, match="holds no entity in any of its texts"):
        judge(task, {"text": ["a"], "entities": [[]]})
