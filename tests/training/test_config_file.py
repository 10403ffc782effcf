import subprocess
import sys

import pytest
import yaml

from kzoo import resources
from kzoo.errors import UserError
from kzoo.training.config_file import apply_override, differences, parse_yaml, read_config, to_yaml

GOOD = """\
model:
  name: minilm-l6-v2
task:
  name: classify
  labels: [no, yes]
data:
  train: reviews.csv
training:
  learning_rate: 5e-5
output: runs/a
"""


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def complaint(tmp_path, text, overrides=()):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_config(path, list(overrides))
    return str(raised.value).replace(str(path), "run.yaml")


def test_reads_values_as_they_are_written(tmp_path):
    config = read_config(write(tmp_path, GOOD))
    assert config.task.labels == ["no", "yes"]  # YAML 1.1 would make them false and true
    assert config.training.learning_rate == 5e-5  # and this a string
    assert config.training.epochs == 1 and config.training.steps is None


def test_resolved_config_reads_back_the_same(tmp_path):
    config = read_config(write(tmp_path, GOOD))
    again = read_config(write(tmp_path, to_yaml(config)))
    assert again == config


def test_unknown_key_says_line_place_and_what_was_meant(tmp_path):
    text = GOOD.replace("learning_rate", "learning_rat")
    assert complaint(tmp_path, text) == (
        "run.yaml, line 9: unknown key training.learning_rat; did you mean training.learning_rate?"
    )


def test_unknown_key_of_another_section_names_that_section(tmp_path):
    assert complaint(tmp_path, GOOD + "batch_size: 8\n") == (
        "run.yaml, line 11: unknown key batch_size; did you mean training.batch_size?"
    )


def test_unknown_key_like_nothing_lists_the_known_ones(tmp_path):
    text = GOOD.replace("labels", "zzz")
    assert complaint(tmp_path, text).startswith("run.yaml, line 5: unknown key task.zzz; known here: name, labels,")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 5e-5", "epochs: five", "line 9: training.epochs: input should be a valid integer"),
        ("learning_rate: 5e-5", "batch_size: 0", "training.batch_size: input should be greater than or equal to 1."),
        ("learning_rate: 5e-5", "precision: float64", "'mixed_bfloat16' or 'mixed_float16'. Received: 'float64'."),
        ("learning_rate: 5e-5", "{epochs: 1, steps: 3}", "line 8: training: give epochs or steps, not both."),
        ("learning_rate: 5e-5", "warmup: 2.5", "warmup counts whole steps, or is a share below 1; received 2.5"),
        ("output: runs/a", "", "run.yaml: output is missing."),
        ("name: minilm-l6-v2", "family: gpt2", "line 1: model: fresh weights need sizes and tokenizer"),
        ("labels: [no, yes]", "labels: [1, 2]", "task.labels.0: input should be a valid string. Received: 1."),
    ],
)
def test_wrong_values_say_where_and_what_came(tmp_path, old, new, message):
    text = GOOD.replace(old, new) if "{" not in new else GOOD.replace("training:\n  " + old, "training: " + new)
    assert message in complaint(tmp_path, text)


def test_a_size_of_the_zoo_needs_no_sizes(tmp_path):
    text = GOOD.replace("name: minilm-l6-v2", "family: bert-tiny\n  tokenizer: minilm-l6-v2")
    assert read_config(write(tmp_path, text)).model.family == "bert-tiny"
    assert "need sizes and tokenizer" in complaint(tmp_path, GOOD.replace("name: minilm-l6-v2", "family: bert-tiny"))


def test_every_mistake_is_listed(tmp_path):
    text = GOOD.replace("learning_rate: 5e-5", "batch_size: 0\n  epocs: 2")
    assert len(complaint(tmp_path, text).splitlines()) == 2


def test_a_key_given_twice_is_an_error(tmp_path):
    assert (
        complaint(tmp_path, GOOD + "output: runs/b\n")
        == "run.yaml, line 11: not valid YAML: key 'output' is given twice."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "must hold keys and values"), ("- a", "It holds list."), ("a: [", "run.yaml, line 1: not valid YAML")],
)
def test_what_is_no_config(tmp_path, text, message):
    assert message in complaint(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="There is no config file .*nowhere.yaml. Those that come with kzoo lie under"):
        read_config(tmp_path / "nowhere.yaml")


def test_overrides_are_typed_by_yaml_and_make_sections(tmp_path):
    overrides = [
        "training.batch_size=16",
        "training.clip_norm=null",
        "task.labels=[a, b]",
        "data.columns.text=review",
        "training.learning_rate=1e-3",
        "output=runs/x=y",
    ]
    config = read_config(write(tmp_path, GOOD), overrides)
    assert config.training.batch_size == 16
    assert config.training.clip_norm is None
    assert config.training.learning_rate == 1e-3
    assert config.task.labels == ["a", "b"]
    assert config.data.columns == {"text": "review"}
    assert config.output == "runs/x=y"


def test_wrong_overrides_say_which(tmp_path):
    assert complaint(tmp_path, GOOD, ["training.bach_size=1"]) == (
        "override 'training.bach_size=1': unknown key training.bach_size; did you mean training.batch_size?"
    )
    assert "An override is written key=value" in complaint(tmp_path, GOOD, ["training.batch_size"])
    assert "output is a value, not a section" in complaint(tmp_path, GOOD, ["output.folder=x"])


def test_override_of_an_absent_section():
    content = {}
    assert apply_override(content, "logging.samples.prompts=[a]") == ("logging", "samples", "prompts")
    assert content == {"logging": {"samples": {"prompts": ["a"]}}}


def test_differences_name_the_dotted_key():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    new = {"a": {"b": 1, "c": 5}, "e": None, "d": 3, "f": 4}
    assert differences(old, new) == ["a.c: 2 -> 5", "f: None -> 4"]


@pytest.mark.parametrize("text", ["1e5", "-2.5e-3", "5E-5", ".5", "1.", "3.14"])
def test_floats_of_yaml_1_2(text):
    assert parse_yaml(text, where="here") == float(text)


@pytest.mark.parametrize("text", ["yes", "on", "No", "1.2.3", "e5", "1e"])
def test_strings_of_yaml_1_2(text):
    assert parse_yaml(text, where="here") == text


CONFIGS = sorted(path for path in resources.folder("configs").glob("*/*.yaml") if path.parent.name != "data")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_that_comes_with_kzoo_is_valid_and_says_what_to_expect(path):
    read_config(path)
    head = path.read_text().split("\nmodel:")[0]
    command = "few-shot" if path.parent.name == "few_shot" else "train"
    assert f"kzoo {command} configs/{path.parent.name}/{path.name}" in head
    assert "minutes" in head
    assert all(line.startswith("#") for line in head.splitlines())


def test_there_are_configs_to_check():
    assert {"movie-reviews", "tiny-shakespeare"} <= {path.stem for path in CONFIGS}


def test_reading_a_config_imports_no_tensorflow(tmp_path):
    path = write(tmp_path, GOOD)
    code = (
        "import sys; from kzoo.training import read_config; "
        f"read_config({str(path)!r}); assert not {{'tensorflow', 'keras', 'torch'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_written_yaml_is_plain(tmp_path):
    content = yaml.safe_load(to_yaml(read_config(write(tmp_path, GOOD))))
    assert content["training"]["weight_decay"] == 0.01
    assert list(content) == ["model", "task", "data", "lora", "training", "logging", "output"]
