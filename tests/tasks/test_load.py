import json

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import kzoo
from kzoo.checkpoints.huggingface import save_directory
from kzoo.errors import UserError
from kzoo.tasks.load import TASKS, load, load_task, task_class
from tests import tiny


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    directory = tmp_path_factory.mktemp("classifier")
    kzoo.Classify(tiny.bert(num_layers=1), labels=["a", "b"]).save(directory)
    return directory


@pytest.fixture
def directory(classifier, tmp_path):
    """A copy that may be damaged."""
    for path in classifier.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def describe(directory, **keys):
    path = directory / "kzoo.json"
    description = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({key: value for key, value in description.items() if value is not ...}))


def test_every_task_has_its_name_and_its_columns():
    for name in TASKS:
        assert task_class(name).name == name
        assert set(task_class(name).columns.values()) <= {"string", "label", "number", "list"}
    assert refusal(task_class, "translate") == f"kzoo has no task 'translate'; it has {', '.join(TASKS)}."


def test_load_gives_a_backbone_from_a_path_or_its_name(classifier):
    for directory in (classifier, str(classifier)):
        pretrained = load(directory)
        assert pretrained.family.MODEL_TYPE == "bert" and set(pretrained.head) == {
            "classifier.weight",
            "classifier.bias",
        }
    assert {weight.dtype for weight in load(classifier, dtype="bfloat16").backbone.weights} == {"bfloat16"}
    assert kzoo.load is load and kzoo.load_task is load_task


def test_load_task_reads_what_was_saved(classifier):
    task = load_task(str(classifier))
    assert isinstance(task, kzoo.Classify) and task.labels == ["a", "b"]
    low = load_task(classifier, dtype="bfloat16")
    text = {"text": tf.constant(["good"])}
    np.testing.assert_allclose(low.serve(text)["scores"], task.serve(text)["scores"], atol=0.05)


def test_a_directory_without_description_is_known_by_its_architecture(directory):
    (directory / "kzoo.json").unlink()
    assert load_task(directory).labels == ["a", "b"]


def test_a_bare_backbone_does_not_say_its_task(tmp_path):
    save_directory(tiny.bert(), tmp_path)
    text = refusal(load_task, tmp_path)
    assert "does not say its task: it has no kzoo.json, and config.json names BertModel. Load it with kzoo.load" in text


@pytest.mark.parametrize(
    "content", ["{", "[]", "3", "{}", '{"task": "classify"}', '{"task": "classify", "options": 3}']
)
def test_a_damaged_description(directory, content):
    (directory / "kzoo.json").write_text(content)
    assert "kzoo.json is damaged" in refusal(load_task, directory)


def test_a_description_of_another_release(directory):
    describe(directory, task="translate")
    assert "kzoo has no task 'translate'" in refusal(load_task, directory)
    describe(directory, task="classify", options={"labels": ["a", "b"], "colour": 1})
    assert "gives classify the options colour, which this release does not have" in refusal(load_task, directory)


def test_a_classifier_without_its_head(directory):
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file({name: one for name, one in tensors.items() if "classifier" not in name}, path)
    text = refusal(load_task, directory)
    assert "2 of its head's 2 tensors are missing: classifier.weight, classifier.bias" in text


def test_half_a_head(directory):
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    del tensors["classifier.bias"]
    safetensors.numpy.save_file(tensors, path)
    assert "1 of its head's 2 tensors are missing: classifier.bias" in refusal(load_task, directory)
    (directory / "kzoo.json").unlink()
    assert "config.json this is a model for classify, but 1 of" in refusal(load_task, directory)


def test_what_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file; a model is a directory with config.json" in refusal(load, tmp_path / "file")
    assert refusal(load, tmp_path / "nowhere") == f"There is no directory {tmp_path / 'nowhere'}."
    assert refusal(load, "./nowhere") == "There is no directory nowhere."
    assert "is not a checkpoint: it has no config.json" in refusal(load, tmp_path)


def test_a_name_that_the_zoo_does_not_have():
    text = refusal(load, "minilm-l6-v3")
    assert "minilm-l6-v3" in text and "minilm-l6-v2" in text
