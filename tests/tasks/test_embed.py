import json

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.checkpoints.huggingface import save_directory
from kzoo.errors import UserError
from kzoo.tasks.embed import POOLINGS, Embed, Pooling
from kzoo.tasks.load import load, load_task
from tests import tiny
from tests.round_trip import array

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def pooled(x, mask, pooling):
    """One row at a time, in numpy, without the padding."""
    rows = [row[real.astype(bool)] for row, real in zip(x, mask, strict=True)]
    return np.stack([{"mean": row.mean(0), "cls": row[0], "max": row.max(0)}[pooling] for row in rows])


@pytest.fixture(scope="module")
def pretrained():
    return tiny.bert(num_layers=1)


def vectors(task, texts):
    return task.serve({"text": tf.constant(texts)})["embedding"].numpy()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["int32", "bool"])
def test_pooling_is_numpys(pooling, kind):
    x = array(3, 4, 5) - 3.0  # all negative: padding would win a maximum
    layer = Pooling(pooling=pooling, normalize=False)
    expected = pooled(x, MASK, pooling)
    np.testing.assert_allclose(layer(x, MASK.astype(kind)), expected, atol=1e-6)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    unit = Pooling(pooling=pooling, normalize=True)(x, MASK.astype(kind))
    np.testing.assert_allclose(unit, expected / lengths, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_answer_is_the_computation_by_hand(pretrained, pooling, normalize):
    task = kzoo.Embed(pretrained, pooling=pooling, normalize=normalize)
    found = vectors(task, tiny.TEXTS)
    for text, vector in zip(tiny.TEXTS, found, strict=True):
        ids = np.array([[2, *task.tokenizer.tokenize([text]).ids[0].numpy(), 3]], "int32")
        hidden = task.backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})["sequence_output"].numpy()
        expected = pooled(hidden, np.ones_like(ids), pooling)[0]
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected) if normalize else expected, atol=1e-5)
    assert found.shape == (4, 16)


def test_a_batch_padded_longer_gives_the_same_vectors(pretrained):
    for pooling in POOLINGS:
        task = kzoo.Embed(pretrained, pooling=pooling)
        tokens = task.tokenize({"text": tf.constant(tiny.TEXTS)})
        short, long = (task.model(task.pack(tokens, length)) for length in (14, 30))
        np.testing.assert_allclose(short, long, atol=1e-5)


def test_low_precision_pools_in_float32():
    task = kzoo.Embed(tiny.bert(dtype="bfloat16"))
    answers = task.serve({"text": tf.constant(tiny.TEXTS)})
    assert answers["embedding"].dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(answers["embedding"], axis=1), 1.0, atol=1e-5)


def test_saved_and_loaded(pretrained, tmp_path):
    task = kzoo.Embed(pretrained, pooling="max", normalize=False, max_length=9)
    task.save(tmp_path)
    loaded = load_task(tmp_path)
    assert isinstance(loaded, kzoo.Embed)
    assert loaded.options() == {"max_length": 9, "pooling": "max", "normalize": False}
    np.testing.assert_array_equal(vectors(loaded, tiny.TEXTS), vectors(task, tiny.TEXTS))
    assert load(tmp_path).pooling == "max"  # as Sentence Transformers writes it
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [one["type"].rpartition(".")[2] for one in modules] == ["Transformer", "Pooling"]


def test_a_decoder_embeds_too():
    task = kzoo.Embed(tiny.gpt2(num_layers=1))
    np.testing.assert_allclose(vectors(task, ["", tiny.TEXTS[1]])[0], vectors(task, [""])[0], atol=1e-5)


def test_predict_gives_lists_of_numbers(pretrained):
    task = kzoo.Embed(pretrained)
    answers = task.predict(tiny.TEXTS)
    assert [set(answer) for answer in answers] == [{"embedding"}] * 4
    np.testing.assert_allclose([answer["embedding"] for answer in answers], vectors(task, tiny.TEXTS), atol=1e-6)


def test_an_unknown_pooling(pretrained):
    with pytest.raises(UserError, match="pooling must be one of mean, cls, max. Received 'sum'"):
        kzoo.Embed(pretrained, pooling="sum")


@pytest.mark.parametrize(("key", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max")])
def test_a_checkpoint_says_its_pooling(tmp_path, key, pooling):
    save_directory(tiny.bert(), tmp_path)
    keys = dict.fromkeys(["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"], False)
    (tmp_path / "1_Pooling").mkdir()
    content = {f"pooling_mode_{name}": name == key for name in keys} | {"word_embedding_dimension": 16}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(content))
    assert Embed(load(tmp_path)).pooling == pooling
    assert Embed(load(tmp_path), pooling="max").pooling == "max"


def test_a_pooling_that_kzoo_lacks_is_refused(tmp_path):
    save_directory(tiny.bert(), tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    with pytest.raises(UserError, match="must choose one of .* It chooses pooling_mode_lasttoken"):
        load(tmp_path)
