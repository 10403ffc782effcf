"""Answers from passages: windows and their targets, the best span by a plain search, no answer, exports, parity."""

import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.serving.export import export
from kzoo.serving.warmup import Plan
from kzoo.tasks.answer import CANDIDATES, NOWHERE
from kzoo.tasks.load import load_task
from kzoo.tasks.span_scores import HOPELESS, PlaceAccuracy, SpanLoss
from tests import reference, tiny
from tests.serving.test_export import ASK

# B texts, W windows, T length

LONG = "it was a bad film. " * 4 + "the good film was not at all bad. " + "it was a bad film. " * 3
ASKED = {
    "question": ["what was good", "what was bad", "was it good", "was it all that good", "what was not"],
    "context": [LONG, "at all", LONG, "a café was 👩‍👩‍👧 good", "the good film"],
}
ANSWERS = ["good film", "all", "not at all", None, "film"]
SHORT = dict(max_length=20, stride=6, max_question_tokens=4, max_answer_tokens=5)


def labelled(answers, contexts):
    """The column of right answers."""
    return [
        [] if answer is None else [{"text": answer, "answer_start": context.index(answer)}]
        for answer, context in zip(answers, contexts, strict=True)
    ]


EXAMPLES = ASKED | {"answers": labelled(ANSWERS, ASKED["context"])}


def noisy(task, seed=1):
    shape = task.head.kernel.shape
    task.head.kernel.assign(np.random.default_rng(seed).normal(size=shape))
    return task


@functools.cache  # what is traced once serves several tests
def answerer(kind="bert", **options):
    return noisy(kzoo.Answer(tiny.pretrained(kind, num_layers=1), **SHORT | options))


def tokens_of(task, columns=ASKED):
    return task.tokenize({name: tf.constant(columns[name]) for name in task.inputs})


def words(task, ids):
    return [task.tokenizer.token_of(id) for id in ids]


# -- windows and targets -----------------------------------------------------------------------------------


def test_windows_repeat_the_question_and_leave_no_token_of_the_passage_out():
    task = answerer()
    tokens = tokens_of(task)
    rows = tokens["row"].numpy()
    assert rows.tolist() == sorted(rows) and set(rows.tolist()) == {0, 1, 2, 3, 4}
    assert rows.tolist().count(0) > 5 and rows.tolist().count(1) == 1
    assert tokens["token_ids"].row_lengths().numpy().max() == 20
    for row, ids, starts, choices, segments in zip(
        rows, *(tokens[name].to_list() for name in ("token_ids", "starts", "choices", "segment_ids")), strict=True
    ):
        said = words(task, ids)
        first = said.index("[SEP]")
        question = task.tokenizer.tokenize([ASKED["question"][row]]).ids[0].numpy()[:4]
        assert said[0] == "[CLS]" and ids[1:first] == question.tolist() and said[-1] == "[SEP]"
        assert choices == [1] + [0] * first + [1] * (len(ids) - first - 2) + [0]
        assert segments == [0] * (first + 1) + [1] * (len(ids) - first - 1)
        assert starts == sorted(starts[:-1]) + [0]
    passage = task.tokenizer.tokenize([LONG])
    judged = [
        (start, end)
        for row, *columns in zip(rows, *(tokens[name].to_list() for name in ("judged", "starts", "ends")), strict=True)
        for is_judged, start, end in zip(*columns, strict=True)
        if row == 0 and is_judged
    ]
    assert judged == list(zip(passage.starts[0].numpy(), passage.ends[0].numpy(), strict=True))


def test_a_model_without_segments_gets_none():
    task = answerer("distilbert")
    assert "segment_ids" not in tokens_of(task)
    assert set(task.model.input_names if hasattr(task.model, "input_names") else task.model.input) == {
        "token_ids",
        "padding_mask",
        "choices",
    }


def test_targets_stand_where_a_window_holds_the_whole_answer():
    task = answerer()
    tokens = tokens_of(task)
    targets, weights = task.targets(EXAMPLES, tokens)
    assert targets.shape == weights.shape == (len(tokens["row"]), 2) and set(weights.numpy().ravel()) == {1.0}
    found = set()
    for row, (first, last), starts, ends, choices in zip(
        tokens["row"].numpy(), targets.numpy(), tokens["starts"], tokens["ends"], tokens["choices"], strict=True
    ):
        context, answer = ASKED["context"][row], ANSWERS[row]
        place = None if answer is None else context.index(answer)
        read = [
            (start, end)
            for start, end, choice in list(zip(starts.numpy(), ends.numpy(), choices.numpy(), strict=True))[1:]
            if choice
        ]
        if answer is not None and read[0][0] <= place and place + len(answer) <= read[-1][1]:
            assert context[starts[first] : ends[last]] == answer
            found.add(int(row))
        else:
            assert (first, last) == (0, 0)
    assert found == {0, 1, 2, 4} and (targets.numpy() == 0).all(-1).any()


def test_the_first_of_several_answers_is_learned_and_half_a_word_is_its_token():
    task = answerer()
    context = "the good film"
    columns = {"question": ["what"], "context": [context]}
    several = [{"text": "ood fi", "answer_start": 5}, {"text": "the", "answer_start": 0}]
    tokens = tokens_of(task, columns)
    targets, _ = task.targets(columns | {"answers": [several]}, tokens)
    (first, last), starts, ends = targets[0].numpy(), tokens["starts"][0], tokens["ends"][0]
    assert context[starts[first] : ends[last]] == "good film"


def test_an_answer_without_a_token_is_not_learned_from():
    task = answerer()
    columns = {"question": ["what", "what"], "context": ["the  film", "bad"]}
    columns["answers"] = [[{"text": "  ", "answer_start": 3}], []]
    _, weights = task.targets(columns, tokens_of(task, columns))
    assert weights.numpy().tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            [{"text": "film", "answer_start": 0}],
            "Row 1 of the examples: the answer 'film' must stand at 0 of its context",
        ),
        ("film", "Row 1 of the examples: answers must be a list of .*Received 'film'"),
        ([{"text": "film"}], "there is no key 'answer_start'"),
    ],
)
def test_answers_that_cannot_be_learned_are_named(answers, message):
    task = answerer()
    columns = {"question": ["what"], "context": ["the good film"]}
    with pytest.raises(UserError, match=message):
        task.targets(columns | {"answers": [answers]}, tokens_of(task, columns))


def test_batches_count_windows():
    task = answerer()
    batches = Batches(task, Examples(EXAMPLES), batch_size=4, training=True)
    assert len(batches.row_lengths) == len(tokens_of(task)["row"]) > 10
    assert batches.steps == -(-len(batches.row_lengths) // 4)
    for features, targets, weights in batches.dataset():
        assert set(features) == {"token_ids", "padding_mask", "segment_ids", "choices"}
        assert targets.shape == weights.shape == (4, 2)
        assert task.model(features).shape == (4, features["token_ids"].shape[1], 2)


# -- the best span -----------------------------------------------------------------------------------------


def searched(task, outputs, tokens, context, row):
    """All spans of a text by plain search, best first: (logit, start, end); and the logit of no answer."""
    found, nothing = [], []
    for window in np.flatnonzero(tokens["row"].numpy() == row):
        starts, ends, choices, judged = (
            tokens[name][window].numpy() for name in ("starts", "ends", "choices", "judged")
        )
        logits = outputs[window]
        nothing.append(logits[0].sum())
        inside = [place for place in range(1, len(choices)) if choices[place]]
        for first in inside:
            for last in inside:
                if judged[first] and first <= last < first + task.max_answer_tokens:
                    found.append((logits[first, 0] + logits[last, 1], int(starts[first]), int(ends[last])))
    return sorted(found, key=lambda one: -one[0]), min(nothing)


@pytest.mark.parametrize("no_answer", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_span_is_that_of_a_plain_search(no_answer, seed):
    task = answerer(no_answer=no_answer, threshold=1.0, num_answers=CANDIDATES)
    tokens = tokens_of(task)
    length = 24  # longer than any row: what stands there is never chosen
    outputs = np.random.default_rng(seed).normal(size=[len(tokens["row"]), length, 2]).astype("float32") * 3
    outputs[:, 0] += 6
    inputs = {name: tf.constant(column) for name, column in ASKED.items()}
    answers = {name: value.numpy() for name, value in task.postprocess(tf.constant(outputs), inputs, tokens).items()}
    best = task.n_best(task.candidates(tf.constant(outputs), tokens, 5), inputs["context"])
    answered = set()
    for row, context in enumerate(ASKED["context"]):
        spans, nothing = searched(task, outputs, tokens, context, row)
        top = spans[:CANDIDATES]
        logits = np.array([*([nothing] if no_answer else []), *(one[0] for one in top)], np.float64)
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        nothing_share, shares = (shares[0], shares[1:]) if no_answer else (0.0, shares)
        count = int(best["count"][row])
        assert count == len(top)
        given = [(int(start), int(end)) for start, end in zip(best["start"][row], best["end"][row], strict=True)]
        assert given[:count] == [(start, end) for _, start, end in top]
        assert given[count:] == [(NOWHERE, NOWHERE)] * (CANDIDATES - count)
        texts = [text.decode() for text in best["answer"][row].numpy()]
        assert texts == [context[start:end] for _, start, end in top] + [""] * (CANDIDATES - count)
        np.testing.assert_allclose(best["score"][row][:count], shares, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(best["no_answer_score"][row], nothing_share, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(best["margin"][row], nothing - top[0][0], rtol=1e-4, atol=1e-5)
        if no_answer and nothing - top[0][0] > 1.0:
            expected = ("", NOWHERE, NOWHERE, nothing_share)
        else:
            expected = (context[top[0][1] : top[0][2]], top[0][1], top[0][2], shares[0])
        answered.add(bool(expected[0]))
        assert answers["answer"][row].decode() == expected[0]
        assert (answers["start"][row], answers["end"][row]) == expected[1:3]
        np.testing.assert_allclose(answers["score"][row], expected[3], rtol=1e-4)
    assert answered == ({True, False} if no_answer else {True})


def test_an_answer_does_not_depend_on_the_texts_beside_it():
    task = answerer()
    together = task.predict(ASKED)
    assert any(one["answer"] for one in together)
    for number, expected in enumerate(together):
        alone = task.predict({name: [column[number]] for name, column in ASKED.items()})[0]
        assert alone["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert {**alone, "score": 0} == {**expected, "score": 0}
        context = ASKED["context"][number]
        assert expected["answer"] == (context[expected["start"] : expected["end"]] if expected["start"] >= 0 else "")
    assert task.predict({"question": [], "context": []}) == []


def test_the_n_best_in_python_hold_the_answer():
    task = answerer(no_answer=False)
    plain, best = task.predict(ASKED), task.best_answers(ASKED, batch_size=2)
    for one, several in zip(plain, best, strict=True):
        assert (several["answer"][0], several["start"][0], several["end"][0]) == (
            one["answer"],
            one["start"],
            one["end"],
        )
        assert several["score"][0] == pytest.approx(one["score"], abs=1e-5) and several["no_answer_score"] == 0
        assert several["score"] == sorted(several["score"], reverse=True) and len(several["answer"]) == several["count"]
        assert len(set(zip(several["start"], several["end"], strict=True))) == several["count"]


@pytest.mark.parametrize("no_answer", [True, False])
def test_nothing_is_found_in_nothing(no_answer):
    task = answerer() if no_answer else answerer(no_answer=False)
    questions = {"question": ["what", "", "what"], "context": ["", "", " \n "]}
    for answer in task.predict(questions):
        assert (answer["answer"], answer["start"], answer["end"]) == ("", NOWHERE, NOWHERE)
        assert answer["score"] == pytest.approx(1.0 if no_answer else 0.0)
    assert [one["count"] for one in task.best_answers(questions)] == [0, 0, 0]


def test_answers_are_valid_text_whatever_comes():
    task = answerer(no_answer=False)
    broken = [
        b"caf\xc3\xa9 \xff\xfe was \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f",
        "a\x00b 👩‍👩‍👧".encode(),
        b"\xed\xa0\x80x",
    ]
    outputs = task.serve({"question": tf.constant(["what"] * 3), "context": tf.constant(broken)})
    for text, start, end, given in zip(
        broken, outputs["start"], outputs["end"], outputs["answer"].numpy(), strict=True
    ):
        code_points = tf.strings.unicode_decode(text, "UTF-8").numpy()
        assert given.decode() == "".join(map(chr, code_points[start:end]))


def test_the_threshold_decides():
    task = answerer()
    margins = [one["margin"] for one in task.best_answers(ASKED)]
    task.threshold = float(np.median(margins))
    try:
        answers = task.serve({name: tf.constant(column) for name, column in ASKED.items()})["answer"].numpy()
        assert [answer == b"" for answer in answers] == [margin > task.threshold for margin in margins]
        assert task.options()["threshold"] == task.threshold
    finally:
        task.threshold = 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(max_length=20, stride=16),
            "max_length must hold .*Received max_length=20, max_question_tokens=5, stride=16",
        ),
        (dict(stride=0), "stride=0"),
        (dict(max_question_tokens=19), "max_question_tokens=19"),
        (dict(max_answer_tokens=0), "max_answer_tokens must be at least 1. Received 0"),
        (dict(num_answers=21), "num_answers must be 20 or less"),
        (dict(threshold=float("inf")), "threshold must be a number; no_answer: false always answers"),
        (dict(max_length=400), "max_length must lie between 3 and the model's 40 positions"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        kzoo.Answer(tiny.bert(num_layers=1), **dict(max_length=20) | options)


def test_a_decoder_is_refused():
    with pytest.raises(UserError, match="needs a model that reads the whole row both ways, such as BERT"):
        kzoo.Answer(tiny.gpt2(num_layers=1))


# -- learning ----------------------------------------------------------------------------------------------


def test_the_loss_is_over_what_can_be_chosen():
    outputs = np.full([2, 5, 2], HOPELESS, "float32")
    outputs[:, 0], outputs[:, 2:4] = 1.0, [[[0.5, -1.0], [2.0, 3.0]]] * 2
    values = SpanLoss(reduction="none")(np.array([[2, 3], [0, 0]]), outputs).numpy()
    starts, ends = np.array([1.0, 0.5, 2.0]), np.array([1.0, -1.0, 3.0])
    expected = [
        [np.log(np.exp(starts).sum()) - 0.5, np.log(np.exp(ends).sum()) - 3.0],
        [np.log(np.exp(starts).sum()) - 1.0, np.log(np.exp(ends).sum()) - 1.0],
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    for which, share in ((0, 0.0), (1, 1.0)):
        metric = PlaceAccuracy(which, name="accuracy")
        metric.update_state(np.array([[2, 3], [0, 0]]), outputs, np.array([[1.0, 1.0], [0.0, 0.0]]))
        assert float(metric.result()) == share


@pytest.fixture(scope="module")
def learned():
    keras.utils.set_random_seed(0)  # of the head
    task = kzoo.Answer(tiny.bert(num_layers=1), **SHORT)
    settings = dict(epochs=25, batch_size=8, learning_rate=0.02, logging={"progress": "none"})
    run = kzoo.fit(task, Examples(EXAMPLES), say=lambda line: None, **settings)
    return task, run


def test_it_learns_answers_in_windows_and_where_there_is_none(learned):
    task, run = learned
    assert run.history[-1]["loss"] < 0.2 * run.history[0]["loss"]
    assert run.history[-1]["start_accuracy"] > 0.9 and run.history[-1]["end_accuracy"] > 0.9
    assert [one["answer"] or None for one in task.predict(ASKED)] == ANSWERS


def test_what_is_saved_answers_the_same(learned, tmp_path):
    task, _ = learned
    again = load_task(task.save(tmp_path / "model"))
    assert type(again) is kzoo.Answer and again.options() == task.options()
    for one, other in zip(again.predict(ASKED), task.predict(ASKED), strict=True):
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
        assert one == other


@pytest.mark.slow
def test_an_export_answers_without_kzoo(learned, tmp_path):
    task, _ = learned
    path = export(task, tmp_path / "answers", warm_up=Plan(batch_sizes=(2,), lengths=(16,)))
    questions = {str(path): {"plain": ("serving_default", ASKED), "best": ("n_best", ASKED)}}
    process = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, cwd="/"
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answers = json.loads(process.stdout)
    expected = task.predict(ASKED)
    for name in ("answer", "start", "end"):
        assert answers["plain"][name] == [one[name] for one in expected]
    np.testing.assert_allclose(answers["plain"]["score"], [one["score"] for one in expected], atol=1e-5)
    best = task.best_answers(ASKED)
    assert np.reshape(answers["best"]["count"], [5]).tolist() == [one["count"] for one in best]
    assert np.reshape(answers["best"]["answer"], [5, 5])[:, 0].tolist() == [one["answer"][0] for one in best]


# -- transformers ------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Roberta", "Electra", "ModernBert"])
def test_a_checkpoint_of_transformers_has_the_same_logits_and_loss(kind, tmp_path):
    import torch

    theirs = reference.make(f"{kind}ForQuestionAnswering", tmp_path)
    task = load_task(tmp_path)
    assert type(task) is kzoo.Answer and task.max_length == 32
    tokens = tokens_of(task)
    features = {name: one.numpy() for name, one in task.pack(tokens, 32).items()}
    targets, _ = task.targets(EXAMPLES, tokens)
    segments = {"token_type_ids": torch.tensor(features["segment_ids"])} if "segment_ids" in features else {}
    asked = reference.ask(theirs, features, **segments)
    expected = np.stack([asked["start_logits"], asked["end_logits"]], -1)
    can_be_chosen = features["choices"] > 0
    logits = task.model(features).numpy()
    np.testing.assert_allclose(logits[can_be_chosen], expected[can_be_chosen], atol=1e-4)
    assert (logits[~can_be_chosen] == HOPELESS).all() and np.abs(expected[can_be_chosen]).max() > 0.01
    task.save(tmp_path / "again")
    again = reference.ask(reference.load(tmp_path / "again", f"{kind}ForQuestionAnswering"), features, **segments)
    np.testing.assert_allclose(again["start_logits"], asked["start_logits"], atol=1e-6)

    places = [torch.tensor(targets[:, which].numpy()).long() for which in (0, 1)]
    hidden = torch.tensor(np.where(can_be_chosen[..., None], expected, HOPELESS))
    loss = sum(torch.nn.functional.cross_entropy(hidden[..., which], places[which]) for which in (0, 1)) / 2
    np.testing.assert_allclose(task.loss()(targets, task.model(features), tf.ones_like(targets)), loss, rtol=1e-4)
