"""What a classifier can be beside one label of several: class weights, several labels, numbers, pairs of texts."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.serving.export import export
from kzoo.serving.warmup import Plan
from kzoo.tasks.classify import PositiveWeights
from kzoo.tasks.labels import labels_of
from kzoo.tasks.load import load_task
from kzoo.tasks.regress import numbers_of
from tests import reference, tiny
from tests.round_trip import array

LABELS = ["film", "food", "fun"]
PLAN = Plan(batch_sizes=(2,), lengths=(16,))
PAIRS = {"text": tiny.TEXTS, "text_pair": [tiny.TEXTS[1], "", "not bad", "the film was good " * 12]}


def noisy(task):
    shape = task.head.kernel.shape
    task.head.kernel.assign(np.random.default_rng(1).normal(size=shape))
    return task


def classifier(kind="bert", **options):
    return noisy(kzoo.Classify(tiny.pretrained(kind, num_layers=1), **{"labels": LABELS, **options}))


def regressor(kind="bert", **options):
    return noisy(kzoo.Regress(tiny.pretrained(kind, num_layers=1), **options))


# -- class weights -----------------------------------------------------------------------------------------


def weights_of(column, **options):
    return classifier(**options).targets({"label": column}, {})[1].numpy().tolist()


def test_class_weights_weigh_the_targets():
    assert weights_of(["film", "fun", "food"], class_weights={"fun": 3, "food": 0.5}) == [1.0, 3.0, 0.5]


def test_balanced_classes_weigh_the_same_together_and_one_on_average():
    """As scikit-learn's ``compute_class_weight`` has it, a class without examples left out."""
    column = ["film"] * 6 + ["fun"] * 2
    weights = weights_of(column, class_weights="balanced")
    assert weights == [pytest.approx(8 / (2 * 6))] * 6 + [pytest.approx(8 / (2 * 2))] * 2
    assert sum(weights[:6]) == pytest.approx(sum(weights[6:])) and np.mean(weights) == pytest.approx(1.0)
    library = pytest.importorskip("sklearn.utils.class_weight")
    theirs = library.compute_class_weight("balanced", classes=np.array(["film", "fun"]), y=np.array(column))
    np.testing.assert_allclose(theirs, [weights[0], weights[-1]], rtol=1e-6)


def test_accuracy_is_not_weighed():
    task = classifier(class_weights={"fun": 9.0})
    (metric,) = task.metrics()
    logits = np.eye(3, dtype="float32")[[0, 1, 2, 2]]
    metric.update_state(np.array([0, 1, 0, 2]), logits, sample_weight=np.array([1.0, 1.0, 9.0, 0.0]))
    assert float(metric.result()) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"fan": 2.0}, "must name labels of the task. Received 'fan' .did you mean fun"),
        ({"fun": 0}, "must be a number above 0. Received 0 for 'fun'"),
        ({"fun": "2"}, "must be a number above 0. Received '2' for 'fun'"),
        ("equal", 'must be {label: weight} or "balanced". Received'),
    ],
)
def test_class_weights_that_cannot_be(weights, message):
    with pytest.raises(UserError) as caught:
        classifier(class_weights=weights)
    assert message.split(" .")[0] in str(caught.value)


# -- several labels ----------------------------------------------------------------------------------------


def test_labels_between_separators_as_lists_and_as_json():
    column = ["film, fun", "", "food", '["film", "a, b"]', "[x", ["fun"], 3]
    expected = [["film", "fun"], [], ["food"], ["film", "a, b"], ["[x"], ["fun"], ["3"]]
    assert labels_of(column, separator=",") == expected
    assert labels_of(["a|b"], separator="|") == [["a", "b"]]
    assert labels_of(["a, b", b"c", 1]) == [["a, b"], ["c"], ["1"]]


def test_several_labels_are_targets_of_zero_and_one():
    task = classifier(multi_label=True)
    targets, weights = task.targets({"label": ["fun,film", "", "food"]}, {})
    assert targets.numpy().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]] and weights.numpy().tolist() == [1, 1, 1]
    with pytest.raises(UserError, match="does not know: 'fan'; it knows 'film', 'food', 'fun'"):
        task.targets({"label": ["fun,fan"]}, {})


def test_answers_are_the_labels_above_the_threshold_the_likeliest_first():
    task = classifier(multi_label=True, threshold=0.4)
    logits = tf.constant([[-2.0, 3.0, 0.1], [-3.0, -3.0, -3.0], [1.0, 0.0, -0.3]])
    answers = {name: value.numpy().tolist() for name, value in task.postprocess(logits, {}, {}).items()}
    assert answers["labels"] == [[b"food", b"fun", b""], [b"", b"", b""], [b"film", b"food", b"fun"]]
    assert answers["count"] == [2, 0, 3]
    np.testing.assert_allclose(answers["scores"], 1 / (1 + np.exp(-logits.numpy())), rtol=1e-6)
    assert answers["classes"][1] == [b"film", b"food", b"fun"]


def test_metrics_of_several_labels():
    exact, each = classifier(multi_label=True, threshold=0.5).metrics()
    targets = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], "float32")
    logits = np.array([[2, -1, 1], [-1, 1, -1], [9, 9, 9]], "float32")
    for metric, expected in ((exact, 1 / 2), (each, (1 + 2 / 3) / 2)):
        metric.update_state(targets, logits, sample_weight=np.array([1.0, 1.0, 0.0]))
        assert float(metric.result()) == pytest.approx(expected)


def test_the_loss_of_several_labels_is_binary_cross_entropy():
    targets, logits = np.array([[1, 0, 1], [0, 1, 0]], "float32"), array(2, 3)
    probability = 1 / (1 + np.exp(-logits))
    positive = np.array([1.0, 4.0, 1.0])
    for options, weights in (({}, np.ones(3)), ({"class_weights": {"food": 4.0}}, positive)):
        each = -weights * targets * np.log(probability) - (1 - targets) * np.log(1 - probability)
        loss = classifier(multi_label=True, **options).loss()
        np.testing.assert_allclose(loss(targets, logits, [1.0, 0.0]), each[0].mean(), rtol=1e-5)
    again = PositiveWeights.from_config(PositiveWeights(positive, reduction="none").get_config())
    np.testing.assert_allclose(again(targets, logits), each.mean(-1), rtol=1e-5)


def test_one_class_alone_may_be_given_or_not():
    assert classifier(labels=["spam"], multi_label=True).model.output.shape == (None, 1)
    with pytest.raises(UserError, match="labels must name one or more"):
        classifier(labels=[], multi_label=True)


@pytest.mark.parametrize(("options", "message"), [({"threshold": 1.0}, "threshold"), ({"separator": ""}, "separator")])
def test_options_of_several_labels_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        classifier(multi_label=True, **options)
    with pytest.raises(UserError, match="must be {label: weight}. Received 'balanced'"):
        classifier(multi_label=True, class_weights="balanced")


# -- numbers -----------------------------------------------------------------------------------------------


def test_numbers_come_as_numbers_or_as_texts():
    np.testing.assert_array_equal(numbers_of(np.array([1, 2])), [1.0, 2.0])
    np.testing.assert_array_equal(numbers_of(["1e-2", " 3 ", b"4"]), [0.01, 3.0, 4.0])
    for column in (["1", "good"], ["1", "nan"], [1.0, None]):
        with pytest.raises(UserError, match="label must hold numbers to be learned. Row 2 holds"):
            numbers_of(column)


def test_the_loss_of_a_regressor_is_the_squared_error_and_its_metric_the_absolute_one():
    task = regressor()
    targets, weights = task.targets({"label": [1.0, 2.0, 5.0]}, {})
    outputs = np.array([[2.0], [2.5], [0.0]], "float32")
    assert float(task.loss()(targets, outputs, [1.0, 1.0, 0.0])) == pytest.approx((1 + 0.25) / 2)
    (metric,) = task.metrics()
    metric.update_state(targets, outputs, sample_weight=[1.0, 1.0, 0.0])
    assert float(metric.result()) == pytest.approx(0.75)


# -- pairs -------------------------------------------------------------------------------------------------


def test_a_pair_is_one_row_with_segments():
    task = classifier(pair=True, max_length=20)
    tokens = task.tokenize({name: tf.constant(texts) for name, texts in PAIRS.items()})
    features = task.pack(tokens, 20)
    separator = task.tokenizer.id_of("[SEP]")
    for ids, segments in zip(tokens["token_ids"].to_list(), tokens["segment_ids"].to_list(), strict=True):
        first = ids.index(separator)
        assert ids.count(separator) == 2 and ids[-1] == separator and len(ids) <= 20
        assert segments == [0] * (first + 1) + [1] * (len(ids) - first - 1)
    assert set(task.model.input) == set(features) == {"token_ids", "padding_mask", "segment_ids"}


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2", "roberta"])
def test_the_second_text_and_the_order_matter(kind):
    task = regressor(kind, pair=True)
    assert ("segment_ids" in task.model.input) == (kind == "bert")
    one, other, turned = task.predict({"text": ["a film", "a film", "bad"], "text_pair": ["bad", "good", "a film"]})
    assert len({round(answer["score"], 4) for answer in (one, other, turned)}) == 3


def test_a_pair_needs_both_texts():
    task = classifier(pair=True)
    with pytest.raises(UserError, match="classify needs a dict with text, text_pair"):
        task.predict("a film")
    with pytest.raises(UserError, match="truncation must be one of longest_first, only_first, only_second"):
        classifier(pair=True, truncation="both")
    assert classifier().inputs.keys() == {"text"} and kzoo.Classify.columns.keys() == {"text", "label"}


# -- saved, loaded, exported, trained ----------------------------------------------------------------------

FORMS = {
    "weights": lambda kind: classifier(kind, class_weights={"fun": 2.0}),
    "several": lambda kind: classifier(kind, multi_label=True, threshold=0.4, separator="|"),
    "number": lambda kind: regressor(kind),
    "pair": lambda kind: classifier(kind, pair=True, truncation="only_second"),
    "pair_number": lambda kind: regressor(kind, pair=True),
}
PROBLEMS = {"several": "multi_label_classification", "number": "regression", "pair_number": "regression"}


def questions(task):
    texts = PAIRS if task.pair else {"text": tiny.TEXTS}
    return {name: tf.constant(values) for name, values in texts.items()}


@pytest.mark.parametrize("form", FORMS)
def test_saved_loaded_and_exported(form, tmp_path):
    task = FORMS[form]("gpt2" if form == "several" else "bert")
    answers = task.serve(questions(task))
    task.save(tmp_path / "model")
    loaded = load_task(tmp_path / "model")
    assert type(loaded) is type(task) and loaded.options() == task.options()
    again = loaded.rebuild().serve(questions(task))
    assert set(again) == set(answers)
    for name in answers:
        np.testing.assert_array_equal(again[name], answers[name])
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["problem_type"] == PROBLEMS.get(form, "single_label_classification")
    exported = tf.saved_model.load(str(export(task, tmp_path / "exported", warm_up=PLAN)))
    served = exported.signatures["serving_default"](**questions(task))
    assert set(served) == set(answers)
    for name in answers:
        if answers[name].dtype == tf.float32:
            np.testing.assert_allclose(served[name], answers[name], atol=1e-5)
        else:
            np.testing.assert_array_equal(served[name], answers[name])


@pytest.mark.parametrize(
    ("task", "column", "expected"),
    [
        (lambda: classifier(multi_label=True), ["film", "film,fun", "", "food"], "labels"),
        (lambda: regressor(), [0.0, 3.0, -1.0, 2.0], "score"),
        (lambda: classifier(pair=True, class_weights="balanced"), ["film", "fun", "food", "film"], "label"),
    ],
    ids=["several", "number", "pair"],
)
def test_it_learns(task, column, expected):
    task = task()
    texts = {"text": tiny.TEXTS} | ({"text_pair": PAIRS["text_pair"]} if task.pair else {})
    examples = Examples({**texts, "label": column}).take(list(range(4)) * 24)
    settings = {"epochs": 4, "batch_size": 4, "learning_rate": 0.01, "weight_decay": 0.0, "warmup": 0.0}
    run = kzoo.fit(task, examples, **settings, logging={"progress": "none"}, say=lambda line: None)
    assert run.history[-1]["loss"] < 0.2 * run.history[0]["loss"]
    answers = task.predict(texts)
    if expected == "score":
        np.testing.assert_allclose([answer["score"] for answer in answers], column, atol=0.3)
    elif expected == "labels":
        assert [sorted(filter(None, answer["labels"])) for answer in answers] == labels_of(column, separator=",")
    else:
        assert [answer["label"] for answer in answers] == column


# -- the reference -----------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Roberta", "GPT2"])
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression", "single_label_classification"])
def test_a_checkpoint_of_transformers_answers_the_same(kind, problem, tmp_path):
    import torch

    number = 1 if problem == "regression" else 3
    theirs = reference.make(
        f"{kind}ForSequenceClassification", tmp_path, num_labels=number, problem_type=problem, **_padded(kind)
    )
    task = load_task(tmp_path)
    assert type(task) is (kzoo.Regress if problem == "regression" else kzoo.Classify)
    pretrained = kzoo.load(tmp_path)
    paired = type(task)(pretrained, pair=True)
    for mine, texts in ((task, {"text": tiny.TEXTS}), (paired, PAIRS)):
        features = mine.pack(mine.tokenize({name: tf.constant(one) for name, one in texts.items()}), 32)
        features = {name: one.numpy() for name, one in features.items()}
        if kind == "GPT2":  # the reference finds the last token by the id that pads
            features["token_ids"] = np.where(
                features["padding_mask"], features["token_ids"], theirs.config.pad_token_id
            )
        segments = {"token_type_ids": torch.tensor(features["segment_ids"])} if "segment_ids" in features else {}
        logits = reference.ask(theirs, features, **segments)["logits"]
        answers = mine.serve({name: tf.constant(one) for name, one in texts.items()})
        if problem == "regression":
            np.testing.assert_allclose(answers["score"], logits[:, 0], atol=1e-4)
        else:
            scores = tf.nn.sigmoid(logits) if problem.startswith("multi") else tf.nn.softmax(logits)
            np.testing.assert_allclose(answers["scores"], scores, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("form", ["several", "number", "pair"])
def test_transformers_loads_what_is_saved(form, tmp_path):
    task = FORMS[form]("bert")
    task.save(tmp_path)
    theirs = reference.load(tmp_path, "BertForSequenceClassification")
    assert theirs.config.problem_type == PROBLEMS.get(form, "single_label_classification")
    assert theirs.config.num_labels == task.units


@pytest.mark.parity
def test_the_loss_is_that_of_transformers(tmp_path):
    import torch

    texts = {"text": tf.constant(tiny.TEXTS)}
    for problem, column, labels in (
        (
            "multi_label_classification",
            ["LABEL_0", "LABEL_1,LABEL_2", "", "LABEL_2"],
            [[1, 0, 0], [0, 1, 1], [0] * 3, [0, 0, 1]],
        ),
        ("regression", [0.5, -1.0, 2.0, 3.0], [0.5, -1.0, 2.0, 3.0]),
    ):
        directory = tmp_path / problem
        number = 1 if problem == "regression" else 3
        theirs = reference.make("BertForSequenceClassification", directory, num_labels=number, problem_type=problem)
        task = load_task(directory)
        features = task.pack(task.tokenize(texts), 32)
        expected = reference.ask(
            theirs,
            {name: one.numpy() for name, one in features.items()},
            labels=torch.tensor(labels, dtype=torch.float),
        )["loss"]
        targets, weights = task.targets({"label": column}, {})
        np.testing.assert_allclose(task.loss()(targets, task.model(features), weights), expected, rtol=1e-4)


def test_a_regressor_of_several_numbers_is_refused(tmp_path):
    classifier().save(tmp_path)
    (tmp_path / "kzoo.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"problem_type": "regression"}))
    with pytest.raises(UserError, match="A regressor must give one number for a text. That in .* gives 3"):
        load_task(tmp_path)


def _padded(kind):
    """A decoder's reference finds the last token by the id that pads, which must not be that of a word."""
    return {"pad_token_id": tiny.tokenizer("gpt2").special_ids["eos"]} if kind == "GPT2" else {}
