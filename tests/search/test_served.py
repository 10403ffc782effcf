"""A corpus inside of a SavedModel answers as the index does, in a process without kzoo and Keras."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.search import served
from kzoo.serving import export, warmup
from tests.search.texts import PASSAGES, embedder
from tests.serving.test_export import ASK


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return kzoo.Index.build(embedder(), PASSAGES, tmp_path_factory.mktemp("index") / "index")


@pytest.fixture(scope="module")
def task(index):
    return kzoo.Search.of(index, top=2, most=4)


def test_the_export_finds_what_the_index_finds(task, index, tmp_path):
    path = kzoo.export(task, tmp_path / "search", warm_up=warmup.Plan(batch_sizes=(1, 2), lengths=(8,)))
    texts, top = ["a good film", "", "not bad"], [1, 99, -5]
    questions = {
        str(path): {
            "plain": ("serving_default", {"text": texts}),
            "search": ("search", {"text": texts, "top": top}),
            "embed": ("embed", {"text": texts}),
        }
    }
    asked = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, cwd="/"
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    answers = json.loads(asked.stdout)
    for name, counts, width in (("plain", [2, 2, 2], 2), ("search", [1, 4, 1], 4)):
        answer = {key: np.reshape(value, [3, -1]) for key, value in answers[name].items()}
        assert answer["count"].reshape(-1).tolist() == counts
        assert answer["text"].shape == (3, width)
        for row, (hits, count) in enumerate(zip(index.search(texts, top=width), counts, strict=True)):
            assert answer["text"][row].tolist() == [hit.text for hit in hits[:count]] + [""] * (width - count)
            assert answer["index"][row].tolist() == [hit.number for hit in hits[:count]] + [-1] * (width - count)
            np.testing.assert_allclose(answer["score"][row][:count], [hit.score for hit in hits[:count]], atol=1e-5)
            assert answer["score"][row][count:].tolist() == [0.0] * (width - count)
    np.testing.assert_allclose(np.reshape(answers["embed"]["embedding"], [3, -1]), index.task.vectors(texts), atol=1e-5)

    loaded = tf.saved_model.load(str(path))
    asked = {"text": tf.constant(["bad"]), "top": tf.constant([3])}
    assert loaded.signatures["search"](**asked)["text"].shape == (1, 3)
    graph = (path / "saved_model.pb").read_bytes()
    assert PASSAGES[3].encode() not in graph  # the corpus stands beside the weights, not among the graph's constants
    provenance = json.loads((path / "assets.extra" / "provenance.json").read_text())
    assert provenance["options"]["corpus"] == "7 passages of index"


def test_predict_gives_hits(task):
    (answer,) = task.predict("a good film")
    assert set(answer) == {"text", "score", "index", "count"}
    assert answer["score"] == sorted(answer["score"], reverse=True)


def test_another_precision_keeps_the_corpus(task):
    half = export._at_precision(task, "bfloat16")
    assert half.backbone.dtype_policy.name == "bfloat16"
    assert half.predict(PASSAGES[6])[0]["text"][0] == PASSAGES[6]


def test_mistakes_are_told(task, index, monkeypatch, tmp_path):
    corpus = task.corpus
    for options, message in (
        ({"top": 9, "most": 4}, "top must lie between 1 and most. Received top=9, most=4"),
        ({"corpus": served.Corpus([], np.zeros([0, 16]))}, "A corpus must have a passage or more"),
        (
            {"corpus": served.Corpus(["a"], np.zeros([1, 5], "float32"))},
            r"a vector of 16 numbers for each of its 1 passages. Received \[1, 5\]",
        ),
    ):
        with pytest.raises(UserError, match=message):
            kzoo.Search(task.pretrained, **({"corpus": corpus} | options))
    with pytest.raises(UserError, match="Save the embedder and its index"):
        task.save(tmp_path)
    monkeypatch.setattr(served, "MOST_BYTES", 400)
    with pytest.raises(UserError, match="may have 0.0 GB of vectors and texts. This one has 0.0 GB in 7 passages"):
        kzoo.Search.of(index)
