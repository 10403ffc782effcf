"""Text tokenized once into files: the same rows as from memory, read where they are needed, and damage named."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data import token_folder
from kzoo.data.batching import Batches
from kzoo.data.documents import from_texts
from kzoo.data.examples import Examples
from kzoo.data.formats import Reading
from kzoo.data.text_stream import in_batches, stream_texts
from kzoo.data.token_folder import TokenFolder, identity, is_token_folder, write_token_folder
from kzoo.errors import UserError
from tests import tiny

TEXTS = ["the film was good", "a bad film\nnot good at all", "", "it was " * 9, "bad", "all\n\nat all"] * 5


def write(path, texts=TEXTS, family="gpt2", *, batch=7, shard_tokens=60, **options):
    batches = [texts[start : start + batch] for start in range(0, len(texts), batch)]
    return write_token_folder(
        path, batches, tiny.tokenizer(family), tokenizer_name="tiny", shard_tokens=shard_tokens, **options
    )


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "ids")


def test_what_is_read_is_what_was_tokenized(folder):
    assert len(folder.index["shards"]) > 3 and len(folder) == len(TEXTS)
    assert is_token_folder(folder.path) and not is_token_folder(folder.path.parent)
    expected = from_texts(tiny.tokenizer("gpt2"), TEXTS)
    found = folder.documents()
    assert folder.tokens == len(found.stream) == len(expected.stream)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_array_equal(found.ends, expected.ends)
    places = np.random.default_rng(0).permutation(len(expected.stream))
    np.testing.assert_array_equal(found.stream.take(places), expected.stream.take(places))
    assert np.load(folder.path / "00000.tokens.npy").dtype == np.uint16
    folder.verify()


@pytest.mark.parametrize("kind", ["generate", "fill_mask", "pretrain"])
def test_batches_are_those_of_the_same_texts_in_memory(tmp_path, kind):
    task = {
        "generate": lambda: kzoo.Generate(tiny.gpt2(num_layers=1), max_length=24),
        "fill_mask": lambda: kzoo.FillMask(tiny.bert(num_layers=1), max_length=24),
        "pretrain": lambda: kzoo.Pretrain(tiny.bert(num_layers=1), max_length=24),
    }[kind]()
    family = "gpt2" if kind == "generate" else "bert"
    ids = write(tmp_path / "ids", family=family, sentences=kind == "pretrain")
    stored = Batches(task, ids, batch_size=4, training=True, seed=2)
    memory = Batches(task, Examples({"text": TEXTS}), batch_size=4, training=True, seed=2)
    assert stored.steps == memory.steps > 3
    for one, other in zip(stored.dataset(1, 2), memory.dataset(1, 2), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_a_part_of_the_documents(folder):
    part = folder.take(np.arange(0, 30, 2)).take([3, 0])
    documents = part.documents()
    texts = [
        tiny.tokenizer("gpt2").detokenize([documents.stream.take(np.arange(start, end))]).numpy()[0].decode()
        for start, end in zip(documents.starts, documents.ends, strict=True)
    ]
    assert texts == [TEXTS[6], TEXTS[0]] and len(part) == 2
    assert len({folder.fingerprint, part.fingerprint, folder.take([1]).fingerprint}) == 3
    train, held_out = kzoo.data.split(folder, held_out=0.2)
    assert (len(train), len(held_out)) == (24, 6)
    assert len(folder.sample(4, seed=1)) == 4


def test_nothing_reads_a_whole_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(token_folder, "STRETCH", 64)
    ids = write(tmp_path / "ids", ["the film was good"] * 400, batch=200, shard_tokens=10**6)
    stream = ids.documents().stream
    stream.take(np.arange(100, 120))
    assert [int(checked.sum()) for checked in stream._checked] == [1]
    assert stream._ids[0].size > 1000 and isinstance(stream._ids[0], np.memmap)


def test_a_damaged_shard_is_named_when_its_part_is_read(folder):
    file = folder.path / "00001.tokens.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    stream = TokenFolder.open(folder.path).documents().stream  # opens: the rest is whole
    stream.take(np.arange(10))
    with pytest.raises(
        UserError, match="00001.tokens.npy is damaged near its id 0: the checksum differs. Copy it again"
    ):
        stream.take(np.arange(len(stream)))
    with pytest.raises(UserError, match="00001.tokens.npy is damaged: its sha256 is not"):
        folder.verify()


def test_a_cut_or_missing_file_is_named_at_once(folder):
    file = folder.path / "00002.documents.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00002.documents.npy must have \d+ bytes; it has \d+. Copy it again"):
        TokenFolder.open(folder.path)
    file.unlink()
    with pytest.raises(UserError, match=r"00002.documents.npy must have \d+ bytes; it is missing"):
        TokenFolder.open(folder.path)


def test_sizes_that_changed_are_noticed(folder):
    file = folder.path / "00000.documents.npy"
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="00000.documents.npy is damaged"):
        TokenFolder.open(folder.path).documents()


def test_another_tokenizer_is_refused(folder):
    task = kzoo.FillMask(tiny.bert(num_layers=1))
    with pytest.raises(UserError, match=r"was made by another tokenizer \(tiny, 271 tokens\) than the model's \(\d+"):
        Batches(task, folder, batch_size=4, training=True)
    assert identity(tiny.tokenizer("gpt2")) == folder.index["tokenizer"]["identity"]


def test_a_tokenizer_is_known_by_what_it_does(tmp_path):
    tiny.write_bert_tokenizer(tmp_path / "one")
    same = kzoo.tokenizers.load(tmp_path / "one")
    assert identity(same) == identity(tiny.tokenizer("bert"))
    config = tmp_path / "one" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_lower_case": False}))
    assert identity(kzoo.tokenizers.load(tmp_path / "one")) != identity(same)


def test_what_cannot_be(tmp_path, folder):
    with pytest.raises(UserError, match="ids exists already"):
        write(folder.path)
    with pytest.raises(UserError, match="There is nothing to tokenize"):
        write(tmp_path / "empty", ["", ""])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids"], "nothing half-written is left"
    with pytest.raises(UserError, match="does not say where sentences begin"):
        folder.documents(sentences=True)
    with pytest.raises(UserError, match="The task classify learns from texts. .*ids holds token ids"):
        Batches(kzoo.Classify(tiny.bert(), labels=["a", "b"]), folder, batch_size=4, training=True)
    (folder.path / "index.json").write_text("{")
    with pytest.raises(UserError, match="index.json cannot be read"):
        TokenFolder.open(folder.path)
    with pytest.raises(UserError, match="is not a folder of token ids of this release"):
        (folder.path / "index.json").write_text('{"format": "other"}')
        TokenFolder.open(folder.path)


def test_files_are_read_line_by_line(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\r\n\ntwo\nthree\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"body": "four"}\n\n{"body": ["five", "six  seven"]}\n', encoding="utf-8")
    (tmp_path / "c.csv").write_text('text,label\n"eight, nine",x\n', encoding="utf-8")

    def texts(name, *, column="text", **options):
        return list(stream_texts(tmp_path / name, Reading(**options), column=column))

    assert texts("a.txt") == ["one", "two", "three"]
    assert texts("a.txt", document="paragraph") == ["one", "two\nthree"]
    assert texts("a.txt", document="file") == ["one\n\ntwo\nthree\n"]
    assert texts("b.jsonl", column="body") == ["four", "five\nsix seven"]
    assert texts("c.csv") == ["eight, nine"]
    assert list(in_batches(["ab", "c", "def"], characters=3)) == [["ab", "c"], ["def"]]
    with pytest.raises(UserError, match=r"b.jsonl:1: there is no column 'text'. Name another: --column."):
        texts("b.jsonl")
    (tmp_path / "bad.txt").write_bytes(b"fine\nbad \xff\n")
    with pytest.raises(UserError, match="bad.txt:2, offset 9: the byte 0xff is not utf-8"):
        texts("bad.txt")
