import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data.batching import Batches
from kzoo.errors import UserError
from kzoo.tasks.contrastive import Contrastive, CosineOrder, CosineScore, text_numbers
from kzoo.tasks.load import load_task
from kzoo.training.step import without_reduction
from tests import tiny

TEMPERATURE = 0.1
PAIRS = {"text": ["a", "b", "c", "d"], "text_pair": ["A", "B", "C", "D"]}


def vectors_of(texts, seed=0):
    """A vector of length 1 for each text, equal ones for equal texts."""
    known = {text: np.random.default_rng([seed, *text.encode()]).normal(size=5) for text in texts}
    return np.stack([known[text] / np.linalg.norm(known[text]) for text in texts]).astype("float32")


def rows_of(columns):
    """Texts and targets of examples as `Embed` lays them out."""
    texts = [text for example in zip(*columns.values(), strict=True) for text in example]
    _, number = np.unique(texts, return_inverse=True)
    roles = np.tile(np.arange(len(columns)), len(texts) // len(columns))
    return texts, np.stack([*text_numbers(number), roles], 1).astype("float32")


def contrastive(columns, weights=None):
    texts, targets = rows_of(columns)
    loss = without_reduction(Contrastive(temperature=TEMPERATURE))
    return loss(targets, 3.0 * vectors_of(texts), sample_weight=None if weights is None else tf.constant(weights))


def cross_entropy(query, right, wrong):
    """Of one text, by hand, in float64."""
    found = vectors_of([query, right, *wrong]).astype("float64")
    cosines = found[1:] @ found[0] / TEMPERATURE
    return np.log(np.exp(cosines).sum()) - cosines[0]


def test_each_text_of_a_pair_seeks_the_other_among_all():
    expected = [
        one
        for text, pair in zip(*PAIRS.values(), strict=True)
        for one in (
            cross_entropy(text, pair, [other for other in "ABCD" if other != pair]),
            cross_entropy(pair, text, [other for other in "abcd" if other != text]),
        )
    ]
    np.testing.assert_allclose(contrastive(PAIRS), expected, rtol=1e-4)


def test_negatives_are_wrong_answers_to_every_text_and_seek_nothing():
    values = contrastive({name: column[:2] for name, column in PAIRS.items()} | {"negative": ["x", "y"]}).numpy()
    expected = [cross_entropy("a", "A", "Bxy"), cross_entropy("A", "a", "b"), 0.0]
    expected += [cross_entropy("b", "B", "Axy"), cross_entropy("B", "b", "a"), 0.0]
    np.testing.assert_allclose(values, np.array(expected) * 1.5, rtol=1e-4)  # the mean is over those that seek


def test_what_is_right_elsewhere_in_the_batch_is_no_wrong_answer():
    columns = {"text": ["a", "a", "c"], "text_pair": ["A", "B", "A"], "negative": ["B", "x", "y"]}
    values = contrastive(columns).numpy() / 1.5
    np.testing.assert_allclose(values[0], cross_entropy("a", "A", "xy"), rtol=1e-4)  # B is right, also as a negative
    np.testing.assert_allclose(values[3], cross_entropy("a", "B", "xy"), rtol=1e-4)
    np.testing.assert_allclose(values[6], cross_entropy("c", "A", "BBxy"), rtol=1e-4)
    np.testing.assert_allclose(values[1], cross_entropy("A", "a", []), atol=1e-6)  # c belongs to A, too
    np.testing.assert_allclose(values[4], cross_entropy("B", "a", ["c"]), rtol=1e-4)


def test_rows_that_only_fill_the_batch_are_no_answers():
    filled = {name: [*column[:3], column[0]] for name, column in PAIRS.items()}
    short = {name: column[:3] for name, column in PAIRS.items()}
    filled["text"][3] = filled["text_pair"][3] = "z"
    np.testing.assert_allclose(contrastive(filled, [1.0] * 6 + [0.0] * 2)[:6], contrastive(short), rtol=1e-6)


def test_many_texts_are_told_by_their_numbers():
    low, high = text_numbers(np.array([2**24, 2**24 + 1, 2**40 - 1]))
    assert len(set(zip(np.float32(low), np.float32(high), strict=True))) == 3


def test_the_order_of_cosines_is_that_of_the_scores():
    scores = np.array([5.0, 0.0, 3.0, 3.0])
    texts, _ = rows_of(PAIRS)
    found = vectors_of(texts).astype("float64")
    cosines = (found[::2] * found[1::2]).sum(1)
    wrong = [
        np.exp((cosines[low] - cosines[high]) / TEMPERATURE)
        for high in range(4)
        for low in range(4)
        if scores[high] > scores[low]
    ]
    assert len(wrong) == 5
    loss = without_reduction(CosineOrder(temperature=TEMPERATURE))
    targets = np.repeat(scores, 2)[:, np.newaxis]
    np.testing.assert_allclose(loss(targets, 2.0 * found), np.log1p(np.sum(wrong)), rtol=1e-4)
    some = loss(targets, found, sample_weight=tf.constant([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(some[:4], np.log1p(wrong[0]), rtol=1e-4)


def test_the_cosine_is_the_score_between_its_ends():
    texts, _ = rows_of(PAIRS)
    found = vectors_of(texts)
    expected = ((found[::2] * found[1::2]).sum(1) - [1.0, 0.0, 0.5, 0.25]) ** 2
    loss = without_reduction(CosineScore(low=1.0, high=5.0))
    np.testing.assert_allclose(
        loss(np.repeat([5.0, 1.0, 3.0, 2.0], 2)[:, np.newaxis], found), np.repeat(expected, 2), rtol=1e-4
    )


@pytest.mark.parametrize("kind", [Contrastive(temperature=0.2), CosineOrder(), CosineScore(low=1.0, high=4.0)])
def test_losses_come_back_from_their_config(kind):
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(kind))
    assert loaded.get_config() == kind.get_config()


# -- the task ----------------------------------------------------------------------------------------------------------

TEXTS = {
    "text": ["good film", "a bad, bad film", "it", "the film was not good", "all"],
    "text_pair": ["a good film", "bad", "it was", "the film was bad", "it was all it was at all"],
}
NEGATIVES = {"negative": ["a bad film", "good", "not", "at all", "film"]}
QUIET = {"logging": {"progress": "none"}, "say": lambda text: None}


@pytest.fixture
def task():
    return kzoo.Embed(tiny.bert(num_layers=1))


@pytest.mark.parametrize("columns", [TEXTS, TEXTS | NEGATIVES])
def test_the_rows_of_an_example_stay_together(task, columns):
    batches = Batches(task, columns, batch_size=4, training=True)
    each = len(columns)
    assert (batches.steps, batches.rows_each, batches.token_counts.shape) == (2, each, (5, each))
    asked = task.tokenize({"text": tf.constant(np.array(list(columns.values())).T.reshape(-1))})["token_ids"]
    for (features, targets, weights), rows, count in zip(
        batches.dataset(), batches.plan().rows, batches.plan().counts, strict=True
    ):
        assert features["token_ids"].shape[0] == 4 * each
        lengths = features["padding_mask"].numpy().sum(1).reshape(4, each)
        np.testing.assert_array_equal(lengths, asked.row_lengths().numpy().reshape(5, each)[rows])
        np.testing.assert_array_equal(targets[:, 2], np.tile(np.arange(each), 4))
        np.testing.assert_array_equal(weights, np.repeat(np.arange(4) < count, each))


def test_it_learns_which_texts_belong_together(task):
    before = kzoo.evaluate(task, TEXTS)
    run = kzoo.fit(task, TEXTS | NEGATIVES, TEXTS, epochs=15, batch_size=5, learning_rate=1e-2, **QUIET)
    after = kzoo.evaluate(task, TEXTS)
    assert before["recall_at_1"] < 1.0
    assert after["recall_at_1"] == after["mean_reciprocal_rank"] == run.metrics["validation"]["recall_at_1"] == 1.0
    assert after["loss"] < before["loss"] / 2


def test_parts_of_a_batch_meet_their_own_texts_only(task):
    whole, parts = (
        kzoo.fit(task, TEXTS, epochs=1, batch_size=4, accumulate=accumulate, learning_rate=1e-9, **QUIET).history[0]
        for accumulate in (1, 2)
    )
    assert parts["loss"] < whole["loss"]  # fewer wrong answers


@pytest.mark.parametrize("objective", ["cosine_order", "cosine_score"])
def test_it_learns_how_alike_texts_are(objective, tmp_path):
    numbers = TEXTS | {"label": ["0", "4.5", "1", "2", "3"]}
    task = kzoo.Embed(tiny.bert(num_layers=1), objective=objective)
    run = kzoo.fit(task, numbers, numbers, epochs=25, batch_size=5, learning_rate=1e-2, **QUIET)
    assert run.metrics["validation"]["spearman"] > 0.9
    task.save(tmp_path)
    loaded = load_task(tmp_path)
    expected = {"objective": objective, "temperature": 0.05} | (
        {"scores": [0.0, 4.5]} if objective == "cosine_score" else {}
    )
    assert loaded.options() == {"max_length": 32, "pooling": "mean", "normalize": True} | expected
    assert kzoo.evaluate(loaded, numbers) == pytest.approx(kzoo.evaluate(task, numbers), rel=1e-5)


def test_what_is_learned_is_known_by_the_columns(task):
    with pytest.raises(UserError, match="is known by its examples, or by objective"):
        task.loss()
    Batches(task, TEXTS, batch_size=2, training=False)
    assert isinstance(task.loss(), Contrastive)
    Batches(task, TEXTS | {"label": [1, 2, 3, 4, 5]}, batch_size=2, training=False)
    assert isinstance(task.loss(), CosineOrder)


def test_mistakes_are_told(task):
    with pytest.raises(UserError, match="needs the columns text, text_pair; .* has text. Say which"):
        Batches(task, {"text": ["a"]}, batch_size=1, training=True)
    with pytest.raises(UserError, match="Row 1 holds 'alike'"):
        Batches(task, {"text": ["a"], "text_pair": ["b"], "label": ["alike"]}, batch_size=1, training=True)
    with pytest.raises(UserError, match="All examples of a run must be of one kind"):
        kzoo.fit(task, TEXTS, TEXTS | {"label": [1, 2, 3, 4, 5]}, batch_size=5, **QUIET)
    for wrong, message in (
        (
            {"objective": "cosine"},
            "objective must be one of contrastive, .*. Received 'cosine'",
        ),
        ({"temperature": 0.0}, "temperature must be above 0. Received 0.0"),
        ({"scores": [5, 0]}, r"scores must be the lowest and the highest number.*Received \[5, 0\]"),
    ):
        with pytest.raises(UserError, match=message):
            kzoo.Embed(task.pretrained, **wrong)
