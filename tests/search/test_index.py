import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import kzoo
from kzoo.errors import UserError
from kzoo.search import index as index_module
from tests import tiny
from tests.search.texts import PASSAGES, embedder


@pytest.fixture(scope="module")
def task():
    return embedder()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "passages.txt"
    path.write_text("\n\n".join(PASSAGES) + "\n")
    return path


@pytest.fixture(scope="module")
def index(task, file, tmp_path_factory):
    return kzoo.Index.build(task, file, tmp_path_factory.mktemp("index") / "index")


def cosines(task, query):
    found = task.vectors([query, *PASSAGES]).astype("float64")
    return found[1:] @ found[0]


def test_hits_are_the_nearest_by_cosine(task, index):
    for query in ("a good film", "bad", ""):
        hits = index.search(query, top=4)
        expected = cosines(task, query)
        order = np.argsort(-expected)[:4]
        assert [hit.number for hit in hits] == order.tolist()
        assert [hit.text for hit in hits] == [PASSAGES[number] for number in order]
        assert [hit.line for hit in hits] == [2 * number + 1 for number in order]
        np.testing.assert_allclose([hit.score for hit in hits], expected[order], atol=1e-5)
    one, two = index.search(["bad", PASSAGES[3]], top=99)
    assert (len(one), two[0].text) == (len(PASSAGES), PASSAGES[3])


def test_many_vectors_are_compared_a_part_at_a_time(index, monkeypatch):
    queries = np.random.default_rng(0).normal(size=(3, 16)).astype("float32")
    expected = index.nearest(queries, top=3)
    monkeypatch.setattr(index_module, "_ROWS", 2)
    for one, two in zip(index.nearest(queries, top=3), expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_opened_it_is_the_same_and_on_the_disk(task, index):
    opened = kzoo.Index(index.folder, task=task)
    assert len(opened) == len(PASSAGES) and opened[-1] == (PASSAGES[-1], 13)
    assert isinstance(opened.vectors, np.memmap)
    assert opened.search("film") == index.search("film")  # one model and one set of vectors
    assert not any(path.suffix in (".pkl", ".pickle", ".npy") for path in index.folder.iterdir())


def test_it_loads_the_model_that_made_it(task, file, tmp_path):
    saved = task.save(tmp_path / "model")
    made = kzoo.Index.build(task, file, tmp_path / "index", model=saved)
    assert kzoo.Index(tmp_path / "index").search("bad", top=2) == made.search("bad", top=2)


def test_texts_are_added_and_what_a_kill_left_is_cut_off(task, tmp_path):
    index = kzoo.Index.build(task, PASSAGES[:2], tmp_path / "index")
    for name in ("vectors.f32", "texts.utf8"):
        with (index.folder / name).open("ab") as half:
            half.write(b"half written")
    index.add(PASSAGES[2:5])
    index.add([])
    for one in (index, kzoo.Index(index.folder, task=task)):
        assert [one[number].text for number in range(len(one))] == PASSAGES[:5]
        assert one.search(PASSAGES[4], top=1)[0].number == 4


def test_neighbours_find_what_the_exact_search_finds(task, file, tmp_path):
    pytest.importorskip("hnswlib")
    index = kzoo.Index.build(task, file, tmp_path / "index", neighbours=True)
    index.add(["good at all"])
    opened = kzoo.Index(index.folder, task=task)
    for query in ("good", "a film"):
        near, exact = opened.search(query, top=3), opened.search(query, top=3, exact=True)
        assert [hit.number for hit in near] == [hit.number for hit in exact]
        assert [hit.score for hit in near] == pytest.approx([hit.score for hit in exact], abs=1e-5)
    assert opened.search("good at all", top=1)[0].number == len(PASSAGES)
    assert [path.name for path in index.folder.glob("*.hnsw")] == ["neighbours-8.hnsw"]


STOPPED = """
    import os, sys
    from kzoo.search import index
    from tests.search.texts import embedder

    index.BLOCK, said = 2, []
    def say(line):
        said.append(line)
        if len(said) == 2:
            os.kill(os.getpid(), 9)
    index.Index.build(embedder(), sys.argv[1], sys.argv[2], say=say)
"""


def test_a_build_that_was_killed_goes_on(task, file, index, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(STOPPED), str(file), str(tmp_path / "index")]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, cwd=root, capture_output=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "index").exists()

    said = []
    made = kzoo.Index.build(task, file, tmp_path / "index", say=said.append)
    assert said[0] == "Going on after 4 passages."
    assert [made[number] for number in range(len(made))] == [index[number] for number in range(len(index))]
    np.testing.assert_allclose(made.vectors, index.vectors, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_is_left_of_another_build_is_not_gone_on_with(task, file, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "BLOCK", 2)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="Interrupted; 2 passages are kept. The same command goes on"):
        kzoo.Index.build(task, file, tmp_path / "index", say=stop)
    said = []
    made = kzoo.Index.build(task, file, tmp_path / "index", least_words=3, say=said.append)
    assert "another file, model or setting" in said[0]
    assert len(made) == len([text for text in PASSAGES if len(text.split()) > 2])


def test_an_index_is_replaced_only_when_asked(task, file, tmp_path):
    kzoo.Index.build(task, PASSAGES[:2], tmp_path / "index")
    with pytest.raises(UserError, match="index exists. Choose another folder, or ask for the index to be overwritten"):
        kzoo.Index.build(task, file, tmp_path / "index")
    assert len(kzoo.Index.build(task, file, tmp_path / "index", overwrite=True)) == len(PASSAGES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="mine exists. Choose another folder.$"):
        kzoo.Index.build(task, file, tmp_path / "mine", overwrite=True)


def test_another_model_is_refused(task, index):
    with pytest.raises(UserError, match="gives other vectors .to one text with a cosine of"):
        kzoo.Index(index.folder, task=embedder(seed=5))
    with pytest.raises(UserError, match="vectors have 16 numbers. Those of .* have 8"):
        kzoo.Index(index.folder, task=embedder(hidden_dim=8))
    with pytest.raises(UserError, match="of the task embed. This task is classify"):
        kzoo.Index(index.folder, task=kzoo.Classify(tiny.bert(num_layers=1), labels=["a", "b"]))
    with pytest.raises(UserError, match=r"\[Q, 16\]. Received \[1, 5\]"):
        index.nearest(np.zeros([1, 5]))


def test_mistakes_are_told(task, file, index, tmp_path):
    def build(*arguments, **options):
        return kzoo.Index.build(task, *arguments, **options)

    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    for act, message in (
        (lambda: build(empty, tmp_path / "a"), "empty.txt holds no passage to be found"),
        (lambda: build([], tmp_path / "a"), "The list of texts holds no passage"),
        (lambda: build([5], tmp_path / "a"), "An index holds texts. Received 5"),
        (lambda: build(file, tmp_path / "a", window=31), "window must lie between 1 and the 30 tokens"),
        (lambda: build(file, tmp_path / "a", window=8, stride=9), "stride must lie between 1 and the window's 8"),
        (lambda: build(file, tmp_path / "a", stride=9), "it belongs to window"),
        (lambda: kzoo.Index(tmp_path), "is no index: it has no index.json"),
        (lambda: index.search("x", top=0), "top must be at least 1. Received 0"),
        (lambda: index.search("x", exact=False), "has no graph of neighbours"),
    ):
        with pytest.raises(UserError, match=message):
            act()
    assert not (tmp_path / "a").exists()


def test_a_damaged_index_is_told(task, tmp_path):
    index = kzoo.Index.build(task, PASSAGES, tmp_path / "index")
    described = json.loads((index.folder / "index.json").read_text())
    for content, message in (
        ("{", "index.json is damaged"),
        (json.dumps(described | {"format": 99}), "has the format 99"),
        (json.dumps(described | {"count": 99}), "shorter than index.json says: the index is damaged"),
        (json.dumps(described | {"count": "many"}), "count, bytes and width must be whole numbers"),
    ):
        (index.folder / "index.json").write_text(content)
        with pytest.raises(UserError, match=message):
            kzoo.Index(index.folder)
