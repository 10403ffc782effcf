"""Pretraining as a run: resumed to the same bits, from files, from a config, and as the guide says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import kzoo
from kzoo.errors import UserError
from kzoo.training.train import train

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "pretraining.md"

CONFIG = """\
model:
  family: bert
  sizes: {{hidden_dim: 16, num_layers: 1, num_heads: 2, num_positions: 24, dropout: 0.0}}
  tokenizer: {tokenizer}
task: {{name: fill_mask, max_length: 16, options: {{full_sentences: true}}}}
data: {{train: {data}, held_out: 0.2{more}}}
training: {{steps: 30, batch_size: 8, learning_rate: 2e-2}}
logging: {{progress: none, tensorboard: false}}
output: {output}
"""


def silent(text):
    pass


def kzoo_command(*arguments):
    from kzoo.cli import main as cli

    answer = CliRunner().invoke(cli.app, list(arguments), prog_name="kzoo")
    assert answer.exit_code == 0, f"kzoo {shlex.join(arguments)}\n{answer.output}"
    return answer


def write_corpus(path, documents=24):
    """Documents of a few sentences, one a line, an empty line between documents."""
    nouns, ends = ["cat", "dog", "owl", "fox"], ["slept all day", "sat on the mat", "looked at the moon"]
    lines = []
    for number in range(documents):
        lines += [f"the {nouns[(number + one) % 4]} {ends[(number * one) % 3]}." for one in range(3)] + [""]
    path.write_text("\n".join(lines))


def test_stopped_and_gone_on_with_it_ends_with_the_same_bits(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.pretraining_run", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["stopped"] == 2 and result["going_on"] and result["same"]
    straight, resumed = result["losses"]
    assert straight == resumed and straight[-1] < 0.8 * straight[0]


def test_a_config_learns_its_word_pieces_and_masks_words(tmp_path):
    write_corpus(tmp_path / "corpus.txt")
    path = tmp_path / "run.yaml"
    config = CONFIG.format(
        tokenizer="{kind: wordpiece, vocabulary_size: 300}",
        data=tmp_path / "corpus.txt",
        more="",
        output=tmp_path / "run",
    )
    path.write_text(config)
    run = train(path, say=silent)
    assert run.task.whole_words and run.task.full_sentences
    assert run.metrics["validation"]["accuracy"] > 0.3
    assert kzoo.load_task(run.model).predict("the [MASK] slept all day.")[0]["count"] == 1


def test_a_config_names_a_folder_of_token_ids(tmp_path):
    write_corpus(tmp_path / "corpus.txt")
    place = lambda name: str(tmp_path / name)  # noqa: E731
    words = ("--kind", "wordpiece", "--vocabulary-size", "300", "--output", place("words"))
    kzoo_command("tokenizer", "train", place("corpus.txt"), *words)
    options = ("--document", "paragraph", "--tokenizer", place("words"), "--output", place("ids"), "--json")
    facts = json.loads(kzoo_command("data", "tokenize", place("corpus.txt"), *options).stdout)
    assert facts["documents"] == 24 and facts["shards"] == 1
    path = tmp_path / "run.yaml"
    values = {"data": place("ids"), "output": place("run")}
    path.write_text(CONFIG.format(tokenizer=place("words"), more="", **values))
    run = train(path, say=silent)
    assert run.history[-1]["loss"] < run.history[0]["loss"] and run.metrics["validation"]["targets"]
    path.write_text(CONFIG.format(tokenizer="{vocabulary_size: 300}", more="", **values | {"output": place("other")}))
    with pytest.raises(UserError, match="holds token ids made with .*words. Name that in model.tokenizer"):
        train(path, say=silent)
    path.write_text(CONFIG.format(tokenizer=place("words"), more=", document: file", **values))
    with pytest.raises(UserError, match="token ids, which are read as they are. Leave out data.document."):
        train(path, say=silent)


@pytest.mark.slow
def test_the_guide_s_commands_run(tmp_path, monkeypatch):
    """Its files written, its commands called one after the other; the runs are cut short."""
    monkeypatch.chdir(tmp_path)
    write_corpus(Path("corpus.txt"), documents=60)
    text = GUIDE.read_text()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        name = re.match(r"# (\S+\.yaml)", block)
        if name:
            Path(name[1]).write_text(block)
    called = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("kzoo ") and "configs/" not in line:
                words = shlex.split(line, comments=True)[1:]
                short = [
                    "training.steps=2",
                    "logging.progress=none",
                    "training.batch_size=4",
                    "logging.tensorboard=false",
                ]
                kzoo_command(*words, *(short if words[0] == "train" else []))
                called.append(words[0])
    assert called.count("train") >= 2 and "data" in called


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fill_mask", "pretrain", "generate", "answers"])
def test_two_devices_or_parts_of_a_batch_learn_what_one_device_does(name):
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.pretraining_devices", name],
        cwd=ROOT,
        env={**os.environ, "TF_NUM_INTEROP_THREADS": "4"},  # with one thread two replicas wait for each other forever
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    one, *others = json.loads(process.stdout.partition("RESULTS")[2])
    assert [one["devices"], *(other["devices"] for other in others)] == [1, 2, 1]
    for other in others:
        np.testing.assert_allclose(other["losses"], one["losses"], atol=1e-5)
        assert other["tokens"] == one["tokens"]
        for before, after in zip(one["weights"], other["weights"], strict=True):
            np.testing.assert_allclose(after, before, atol=1e-5)
