"""Figures of real tasks with tiny models: against the answers that the tasks give, and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.training.evaluate import evaluate
from kzoo.training.judging import judge
from kzoo.training.judging.diversity import judge_samples
from kzoo.training.judging.long_text import judge_long_text, windows
from tests import tiny

LABELS = ["bad", "so so", "good"]
TEXTS = [*tiny.TEXTS, "a film", "the bad film was at it", "good"]
COLUMN = ["good", "bad", "bad", "bad", "so so", "bad", "good"]


def noisy(task):
    task.head.kernel.assign(np.random.default_rng(5).normal(size=task.head.kernel.shape) * 3)
    return task


@pytest.fixture(scope="module")
def bert():
    return tiny.pretrained("bert", num_layers=1)


@pytest.fixture(scope="module")
def writer():
    return kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1)), max_length=16, max_new_tokens=4)


def test_a_classifier(bert):
    task = noisy(kzoo.Classify(bert, labels=LABELS, class_weights={"bad": 5.0}))
    found = judge(task, {"text": TEXTS, "label": COLUMN}, batch_size=4)
    answers = task.predict(TEXTS)
    given, figures = [answer["label"] for answer in answers], found.figures
    assert figures["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(given, COLUMN, strict=True)]))
    assert figures["loss"] == pytest.approx(
        np.mean(
            [-np.log(answer["scores"][LABELS.index(label)]) for answer, label in zip(answers, COLUMN, strict=True)]
        ),
        rel=1e-4,
    )  # not weighed
    matrix = metrics.confusion_matrix(COLUMN, given, LABELS)
    assert figures["confusion_matrix"]["rows_are_right"] == matrix.tolist()
    assert figures["macro_f1"] == pytest.approx(metrics.macro_f1(matrix))
    low, high = figures["macro_f1_interval_95"]
    assert 0 <= low <= figures["macro_f1"] <= high <= 1
    assert figures["per_class"]["bad"]["support"] == 4
    titles = ["Confusion matrix", "Reliability", "Risk and coverage", "Precision and recall", "Scores"]
    assert [plot.title for plot in found.plots] == titles
    worst = found.tables[1]
    assert sorted(row[0] for row in worst.rows) == sorted(
        text for text, right, answer in zip(TEXTS, COLUMN, given, strict=True) if right != answer
    )
    assert all(row[1] == COLUMN[TEXTS.index(row[0])] and row[2] == given[TEXTS.index(row[0])] for row in worst.rows)
    agreed = evaluate(kzoo.Classify(task.pretrained, labels=LABELS), {"text": TEXTS, "label": COLUMN})
    assert set(agreed) <= set(figures)


def test_several_labels(bert):
    task = noisy(kzoo.Classify(bert, labels=LABELS, multi_label=True, threshold=0.3))
    column = ["good,bad", "", "bad", "so so", "good", "bad", ""]
    found = judge(task, {"text": TEXTS, "label": column}, batch_size=3)
    answers = task.predict(TEXTS)
    given = np.array([[label in answer["labels"] for label in LABELS] for answer in answers])
    expected = np.array([[label in row.split(",") for label in LABELS] for row in column])
    assert found.figures["exact_match"] == pytest.approx((given == expected).all(-1).mean())
    assert found.figures["label_accuracy"] == pytest.approx((given == expected).mean())
    right = (given & expected).sum()
    assert found.figures["micro_f1"] == pytest.approx(2 * right / (given.sum() + expected.sum()))
    assert found.figures["per_class"]["bad"]["support"] == 3


def test_a_regressor_of_pairs(bert):
    task = noisy(kzoo.Regress(bert, pair=True))
    numbers = np.arange(7.0)
    found = judge(task, {"text": TEXTS, "text_pair": TEXTS[::-1], "label": numbers}, batch_size=2)
    given = np.array([one["score"] for one in task.predict({"text": TEXTS, "text_pair": TEXTS[::-1]})])
    assert found.figures["spearman"] == pytest.approx(metrics.spearman(numbers, given))
    assert found.figures["absolute_error"] == pytest.approx(np.abs(numbers - given).mean(), rel=1e-4)
    assert found.figures["loss"] == pytest.approx(((numbers - given) ** 2).mean(), rel=1e-4)
    worst = found.tables[0].rows[0]
    assert worst[0] == TEXTS[np.abs(numbers - given).argmax()] and worst[1] == TEXTS[::-1][TEXTS.index(worst[0])]


def test_an_embedder_is_measured_on_pairs(bert):
    task = kzoo.Embed(bert)
    numbers = np.arange(7.0)
    found = judge(task, {"text": TEXTS, "text_pair": TEXTS[::-1], "label": numbers})
    first, second = (np.array([one["embedding"] for one in task.predict(texts)]) for texts in (TEXTS, TEXTS[::-1]))
    assert found.figures["spearman"] == pytest.approx(metrics.spearman(numbers, (first * second).sum(-1)))
    pairs = judge(task, {"text": TEXTS, "text_pair": TEXTS})
    assert pairs.figures["recall_at_1"] == pairs.figures["mean_reciprocal_rank"] == 1.0
    assert pairs.figures["documents"] == len(set(TEXTS)) and pairs.tables[0].rows[0][2] == 1
    with pytest.raises(UserError, match="the columns text, text_pair and label. the examples has text"):
        judge(task, {"text": TEXTS})


def test_a_writer_as_evaluate_measures_it(writer):
    found = judge(writer, {"text": ["the film was good", "bad film"]}, batch_size=2)
    expected = evaluate(writer, {"text": ["the film was good", "bad film"]}, batch_size=2)
    for name in ("loss", "perplexity", "accuracy", "tokens"):
        assert found.figures[name] == pytest.approx(expected[name], rel=1e-4), name
    low, high = found.figures["perplexity_interval_95"]
    assert low <= found.figures["perplexity"] <= high


def test_nothing_to_judge(bert):
    with pytest.raises(UserError, match="nothing to evaluate"):
        judge(noisy(kzoo.Regress(bert)), Examples({"text": [], "label": []}))


def test_samples_differ_or_do_not(writer):
    texts = Examples({"text": ["the film was good and bad", "it was not bad at all\na film it was not at all"]})
    found = judge_samples(writer, texts, 3, words=3)
    rows = found.tables[0].rows
    assert [given for given, _ in rows] == ["the film was", "it was not", "a film it"]
    written = [text for _, text in rows]
    assert found.figures["distinct_1"] == metrics.distinct(written, 1) and found.figures["samples"] == 3
    assert found.figures["self_bleu"] == pytest.approx(metrics.self_bleu(written))
    assert judge_samples(writer, texts, 3, words=3).tables == found.tables
    with pytest.raises(UserError, match="has 3 different beginnings of 3 words, too few for 4 samples"):
        judge_samples(writer, texts, 4, words=3)
    with pytest.raises(UserError, match="2 or more. Received 1"):
        judge_samples(writer, texts, 1)


# -- a long text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "length", "stride"), [(23, 8, 3), (24, 8, 4), (8, 8, 2), (5, 8, 8), (40, 10, 1)])
def test_windows_predict_every_token_but_the_first_once(number, length, stride):
    plan = windows(number, length=length, stride=stride)
    scored = [token for start, end in zip(plan.scored, plan.ends, strict=True) for token in range(start, end)]
    assert scored == list(range(1, number))
    for start, first, end in zip(plan.starts, plan.scored, plan.ends, strict=True):
        assert end - start <= length and (start == 0 or first - start >= length - stride)


def test_windows_side_by_side_leave_out_their_first_tokens():
    plan = windows(20, length=8, stride=8)
    assert (plan.ends - plan.scored).tolist() == [7, 7, 3]


def test_a_long_text_by_hand(writer):
    text = "the film was not good at all, it was a bad film " * 2
    found = judge_long_text(writer, text, length=12, stride=5, batch_size=3).figures
    ids = writer.tokenizer.tokenize([text]).ids[0].numpy()
    losses, done = [], 1
    for start in range(0, len(ids), 5):  # as transformers' guide to perplexity has it
        some = ids[start : start + 12][None]
        logits = writer.model({"token_ids": some, "padding_mask": np.ones_like(some)})
        values = keras.losses.sparse_categorical_crossentropy(some[0, 1:], logits[0, :-1], from_logits=True).numpy()
        losses.extend(values[done - start - 1 :])
        done = start + some.shape[1]
        if done == len(ids):
            break
    assert found["tokens"] == len(losses) == len(ids) - 1
    assert found["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    assert found["word_perplexity"] == pytest.approx(np.exp(np.sum(losses) / len(text.split())), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(np.sum(losses) / np.log(2) / len(text), rel=1e-4)
    assert found["text"] == "as it stands" and found["unknown_words"] == 0


def test_what_was_done_to_the_text_is_said(writer):
    text = "a good @-@ bad film <unk> ."
    given = judge_long_text(writer, text, stride=8).figures
    assert given["text"].endswith("(not detokenized)") and given["unknown_words"] == 1 and given["words"] == 7
    together = judge_long_text(writer, text, stride=8, detokenize=True).figures
    assert together["text"].startswith("put together again") and together["tokens"] < given["tokens"]
    assert together["words"] == 7


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a film", {"length": 17}, "The window must have 2 to 16 tokens, as many as the model reads. Received 17."),
        ("a film", {"length": 8, "stride": 9}, "The stride must lie between 1 and the window's 8 tokens. Received 9."),
        ("a", {"stride": 4}, "must have two tokens or more"),
    ],
)
def test_windows_that_cannot_be(writer, text, options, message):
    with pytest.raises(UserError) as caught:
        judge_long_text(writer, text, **options)
    assert message in str(caught.value)


def test_a_classifier_reads_no_long_text(bert):
    with pytest.raises(UserError, match="needs a model that writes text. This task is classify"):
        judge_long_text(noisy(kzoo.Classify(bert, labels=LABELS)), "a film")


@pytest.mark.parity
def test_the_long_text_of_transformers(tmp_path):
    """The loop of the guide to perplexity, with the reference's own model and loss."""
    from tests import reference

    theirs = reference.make("GPT2LMHeadModel", tmp_path)
    import torch

    task = kzoo.Generate(kzoo.load(tmp_path), max_length=16, max_new_tokens=4)
    text = "it was a bad, bad film! the film was good at all " * 2
    ids = torch.tensor(task.tokenizer.tokenize([text]).ids.numpy()).long()
    total, count, before = 0.0, 0, 0
    for start in range(0, ids.shape[1], 8):
        end = min(start + 16, ids.shape[1])
        some = ids[:, start:end]
        labels = some.clone()
        labels[:, : -(end - before)] = -100
        with torch.no_grad():
            loss = theirs(some, labels=labels).loss
        number = int((labels[:, 1:] != -100).sum())
        total, count, before = total + float(loss) * number, count + number, end
        if end == ids.shape[1]:
            break
    found = judge_long_text(task, text, length=16, stride=8).figures
    assert found["tokens"] == count
    assert found["loss"] == pytest.approx(total / count, rel=1e-4)
    assert tf.reduce_all(tf.math.is_finite(found["perplexity_interval_95"]))
