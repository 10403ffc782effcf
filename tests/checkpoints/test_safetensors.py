import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from kzoo.checkpoints import safetensors as files
from kzoo.errors import UserError
from tests.round_trip import array

TENSORS = {"a": array(3, 2), "b": array(4).astype("float16"), "c": array(2, 2).astype("bfloat16"), "d": np.arange(3)}


def refusal(directory) -> str:
    with pytest.raises(UserError) as caught:
        dict(files.Tensors(directory))
    return str(caught.value)


def shards(directory, weight_map=None):
    safetensors.numpy.save_file({"a": TENSORS["a"]}, directory / "model-00001-of-00002.safetensors")
    safetensors.numpy.save_file({"b": TENSORS["b"]}, directory / "model-00002-of-00002.safetensors")
    weight_map = weight_map or {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (directory / files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_single_file(tmp_path):
    files.write(tmp_path / files.SINGLE, TENSORS)
    tensors = files.Tensors(tmp_path)
    assert sorted(tensors) == ["a", "b", "c", "d"] and len(tensors) == 4
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and tensors[name].tobytes() == tensor.tobytes()
        assert tensors.dtype_of(name) == str(tensor.dtype)
        assert tensors.path_of(name) == tmp_path / files.SINGLE
    with pytest.raises(KeyError):
        tensors["e"]


def test_what_is_written_is_for_pytorch_too(tmp_path):
    files.write(tmp_path / "model.safetensors", {"a": TENSORS["a"].T})  # not contiguous
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
        np.testing.assert_array_equal(file.get_tensor("a"), TENSORS["a"].T)


def test_shards(tmp_path):
    shards(tmp_path)
    tensors = files.Tensors(tmp_path)
    assert sorted(tensors) == ["a", "b"]
    np.testing.assert_array_equal(tensors["b"], TENSORS["b"])
    assert tensors.path_of("b").name == "model-00002-of-00002.safetensors"


def test_a_missing_shard_is_named(tmp_path):
    shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "names shards that are not there: model-00002-of-00002.safetensors" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["x"]}}'])
def test_a_damaged_index(tmp_path, content):
    (tmp_path / files.INDEX).write_text(content)
    assert "is not an index of shards" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 30, -5])
def test_a_truncated_file(tmp_path, keep):
    path = tmp_path / files.SINGLE
    files.write(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    text = refusal(tmp_path)
    assert "is not a whole safetensors file" in text and f"it has {path.stat().st_size} bytes" in text


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x4B50])
def test_a_truncated_file_is_not_taken_for_a_pickle(tmp_path, length):
    """The length of a header may begin with the bytes that begin a pickle or a zip archive."""
    (tmp_path / files.SINGLE).write_bytes(struct.pack("<Q", length) + b'{"a"')
    assert "is not a whole safetensors file" in refusal(tmp_path)


def test_no_weights_at_all(tmp_path):
    assert refusal(tmp_path) == f"A model directory holds model.safetensors or {files.INDEX}. {tmp_path} holds neither."


@pytest.mark.parametrize("name", files.PICKLES)
def test_a_pickle_is_refused_unread(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    text = refusal(tmp_path)
    assert f"{tmp_path / name} is a pickle" in text and "kzoo never loads one" in text and "save_pretrained" in text


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_another_name_is_refused_unread(tmp_path, protocol):
    (tmp_path / files.SINGLE).write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    assert "is a pickle under another name; kzoo never loads pickles" in refusal(tmp_path)


def test_pytorchs_zip_archive_under_another_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / files.SINGLE, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    assert "is a pickle under another name" in refusal(tmp_path)


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_safetensors_beside_a_pickle_is_read(tmp_path):
    files.write(tmp_path / files.SINGLE, TENSORS)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert len(files.Tensors(tmp_path)) == 4


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / files.SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(UserError, match="a of .* is stored as F8_E4M3; kzoo reads F64, F32"):
        files.Tensors(tmp_path).dtype_of("a")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / files.SINGLE
    files.write(path, {"a": TENSORS["a"]})

    def fail(tensors, aside, metadata):
        aside.write_bytes(b"half")
        raise error

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        files.write(path, TENSORS)
    if isinstance(error, OSError):
        assert f"{path} could not be written: No space left on device" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [files.SINGLE]
    assert sorted(files.Tensors(tmp_path)) == ["a"]


def test_a_failed_write_of_safetensors_own_says_so(tmp_path, monkeypatch):
    def fail(tensors, aside, metadata):
        raise safetensors.SafetensorError("I/O error: disk full")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(UserError, match="could not be written: I/O error: disk full"):
        files.write(tmp_path / files.SINGLE, TENSORS)
    assert not list(tmp_path.iterdir())
