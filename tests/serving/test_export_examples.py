"""Exports asked through tf.Example and through token ids: the same answers as from text, for every task."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.serving import batching, protos, saved_model, signatures
from kzoo.serving.export import export
from kzoo.tasks import tf_example
from tests import tiny

TEXTS = ["a good film", "the film was not good at all", "bad"]


def exported(task, tmp_path, **options):
    path = export(task, tmp_path / task.name, warm_up=None, **options)
    return path, tf.saved_model.load(str(path))


def named(answers):
    return {name: value.numpy() for name, value in answers.items()}


def by_token_ids(task, rows, padding=0):
    """The features of rows, and what the signature answers to them; not exported, which test_oldest_tensorflow does."""
    signature = task.token_signatures()["from_token_ids"]
    features = {
        key: value if key == "length" else tf.pad(value, [[0, 0], [0, padding]])
        for key, value in signature.tensors(rows).items()
    }
    found = named(signatures.trace("from_token_ids", signature)(**features))
    length = features.pop("length")
    mask = tf.sequence_mask(length, tf.shape(features["token_ids"])[1], tf.int32)
    return features | {"padding_mask": mask}, found


def test_a_classifier_of_pairs_by_examples_and_by_token_ids(tmp_path):
    task = kzoo.Classify(tiny.bert(num_layers=1), labels=["no", "maybe", "yes"], pair=True)
    _, loaded = exported(task, tmp_path, token_signatures=True)
    rows = {"text": TEXTS, "text_pair": ["it was bad", "", "good é"]}
    plain = named(loaded.signatures["serving_default"](**{key: tf.constant(value) for key, value in rows.items()}))
    by_examples = named(loaded.signatures["classify"](inputs=tf.constant(tf_example.serialized(rows))))
    assert set(by_examples) == {"classes", "scores"}
    np.testing.assert_allclose(by_examples["scores"], plain["scores"], atol=1e-6)
    assert by_examples["classes"].tolist() == plain["classes"].tolist()
    signature = task.token_signatures()["from_token_ids"]
    assert set(signature.inputs) == {"token_ids", "length", "segment_ids"}
    by_ids = named(loaded.signatures["from_token_ids"](**signature.tensors(rows)))
    assert by_ids["label"].tolist() == plain["label"].tolist()
    np.testing.assert_allclose(by_ids["scores"], plain["scores"], atol=1e-6)


def test_an_example_without_the_feature_is_an_error_that_names_it(tmp_path):
    task = kzoo.Regress(tiny.bert(num_layers=1))
    _, loaded = exported(task, tmp_path)
    texts = tf.constant(TEXTS)
    by_examples = loaded.signatures["regress"](inputs=tf.constant(tf_example.serialized({"text": TEXTS})))["outputs"]
    np.testing.assert_allclose(by_examples, loaded.signatures["serving_default"](text=texts)["score"], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="text"):
        loaded.signatures["regress"](inputs=tf.constant(tf_example.serialized({"words": TEXTS})))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    task = kzoo.Embed(tiny.bert(num_layers=1))
    return task, *exported(task, tmp_path_factory.mktemp("embedder"), token_signatures=True)


def test_padding_does_not_change_an_embedding(embedder):
    task, path, loaded = embedder
    plain = loaded.signatures["serving_default"](text=tf.constant(TEXTS))["embedding"]
    tensors = task.token_signatures()["from_token_ids"].tensors({"text": TEXTS})
    wider = tensors | {"token_ids": tf.pad(tensors["token_ids"], [[0, 0], [0, 5]], constant_values=2)}
    np.testing.assert_allclose(loaded.signatures["from_token_ids"](**wider)["embedding"], plain, atol=1e-6)
    example = saved_model.description(path)["examples"]["from_token_ids"]["inputs"]
    assert set(example) == {"token_ids", "length"} and isinstance(example["token_ids"][0][0], int)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "length must lie between 1 and 32"),
        (33, "length must lie between 1 and 32"),
        (31, "length must not exceed the width of token_ids"),
    ],
)
def test_a_length_that_means_nothing_is_refused(embedder, length, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        embedder[-1].signatures["from_token_ids"](token_ids=tf.ones([1, 30], tf.int32), length=tf.constant([length]))


def test_requests_of_token_ids_of_different_lengths_may_share_a_batch(embedder):
    parameters = protos.read(embedder[1] / batching.FILE, protos.BatchingParameters)
    assert parameters.pad_variable_length_inputs


def test_a_tagger_gives_probabilities_of_each_token():
    tagger = kzoo.Tag(tiny.bert(num_layers=1), labels=["film", "mood"])
    features, found = by_token_ids(tagger, {"text": TEXTS}, padding=3)
    expected, mask = tf.nn.softmax(tagger.model(features)).numpy(), features["padding_mask"].numpy().astype(bool)
    assert found["scores"].shape == (*mask.shape, 5) and found["classes"].shape == (3, 5)
    np.testing.assert_allclose(found["scores"][mask], expected[mask], atol=1e-5)


def test_an_answerer_gives_logits_of_each_token():
    task = kzoo.Answer(tiny.bert(num_layers=1))
    features, found = by_token_ids(task, {"question": TEXTS, "context": ["it was a bad, bad film!"] * 3})
    assert set(features) == {"token_ids", "padding_mask", "segment_ids", "choices"}
    logits, mask = task.model(features).numpy(), features["padding_mask"].numpy().astype(bool)
    np.testing.assert_allclose(found["start_logits"][mask], logits[..., 0][mask], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["end_logits"][mask], logits[..., 1][mask], rtol=1e-4, atol=1e-4)


def test_masked_places_are_filled_from_token_ids():
    task = kzoo.FillMask(tiny.bert(num_layers=1), top_k=3)
    texts = ["a [MASK] film", "[MASK] was [MASK]", "bad"]
    plain = named(task.serve({"text": tf.constant(texts)}))
    found = by_token_ids(task, {"text": texts})[1]
    assert found["words"].tolist() == plain["words"].tolist() and found["count"].tolist() == [1, 2, 0]


def test_a_prompt_of_token_ids_is_continued_by_token_ids():
    task = kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1)), max_new_tokens=4)
    assert task.most_tokens == task.max_length - 4
    found = by_token_ids(task, {"prompt": TEXTS})[1]
    rows = [ids[:count].tolist() for ids, count in zip(found["token_ids"], found["count"], strict=True)]
    texts = task.tokenizer.detokenize(tf.ragged.constant(rows, dtype=tf.int32))
    assert [text.decode() for text in texts.numpy()] == task.generate(TEXTS)


@pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])
def test_an_export_at_half_precision_says_how_far_numbers_moved(tmp_path, precision):
    task, said = kzoo.Classify(tiny.bert(num_layers=1), labels=["no", "yes"]), []
    path, loaded = exported(task, tmp_path, precision=precision, say=said.append)
    description = saved_model.description(path)
    assert 0 < description["rounding"] < 0.2 and description["tolerance"] > 1e-3
    assert any(f"From float32 to {precision}: numbers moved by" in line for line in said)
    assert any("links all of its" in line for line in said)
    scores = loaded.signatures["serving_default"](text=tf.constant(TEXTS))["scores"]
    np.testing.assert_allclose(scores, [one["scores"] for one in task.predict(TEXTS)], atol=0.2)
