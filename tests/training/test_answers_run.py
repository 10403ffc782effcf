"""Translations from two files of lines, as a run: vocabulary, training, evaluation on what was held out."""

import json

from typer.testing import CliRunner

from kzoo.cli.main import app
from kzoo.training.train import train

CONFIG = """\
model:
  family: gpt2
  sizes: {{hidden_dim: 16, num_layers: 1, num_heads: 2, num_positions: 32, dropout: 0.0}}
  tokenizer: {{vocabulary_size: 300}}
task:
  name: generate
  max_length: 32
  options: {{max_new_tokens: 12, prompt_template: "{{prompt}} = ", packs_rows: true}}
data: {{train: "{folder}/words.{{en,de}}", held_out: 4}}
training: {{steps: 4, batch_size: 4, learning_rate: 1e-2}}
logging: {{progress: none, tensorboard: false}}
output: {folder}/run
"""


def test_parallel_files_become_a_translator_that_is_judged(tmp_path):
    pairs = [("the cat", "die Katze"), ("the dog", "der Hund"), ("the owl", ""), ("a fox", "ein Fuchs")] * 6
    for place, name in enumerate(("en", "de")):
        (tmp_path / f"words.{name}").write_text("\n".join(pair[place] for pair in pairs) + "\n")
    (tmp_path / "run.yaml").write_text(CONFIG.format(folder=tmp_path))
    said = []
    run = train(tmp_path / "run.yaml", say=said.append)
    assert any("Left out:" in line and "without an answer" in line for line in said)
    assert run.history[-1]["loss"] < 6 and run.metrics["validation"]["perplexity"] > 1
    ids = run.task.tokenizer.tokenize(["Katze"]).ids.to_list()[0]
    assert len(ids) < 5, "the vocabulary was learned from both languages"
    answer = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run"), "--json"])
    assert answer.exit_code == 0, answer.output
    results = json.loads(answer.stdout)
    assert results["pairs"] + results.get("left_out", 0) == 4 and results["copy_chrf"] < 60
    assert run.task.options()["prompt_template"] == "{prompt} = " and run.task.packs_rows
