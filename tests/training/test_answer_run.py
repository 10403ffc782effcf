"""From SQuAD's file to a model that answers: held out by article, through adapters, the best by F1 kept."""

import json

import pytest

import kzoo
from kzoo.training.config_file import read_config
from kzoo.training.train import train
from tests import tiny

CONTEXT = "it was a bad film. the good film was not bad at all."
QUESTIONS = [("what was good", "good film"), ("what was bad", "bad film"), ("who", None)]
CONFIG = """\
model: {{name: {model}}}
task:
  name: answer
  max_length: 24
  options: {{stride: 8, max_answer_tokens: 4}}
data: {{train: {data}, held_out: 6, group: title}}
lora: {{rank: 4, targets: all}}
training: {{epochs: 3, batch_size: 8, learning_rate: 2e-2, best: val_f1, result: best}}
logging: {{progress: none, tensorboard: false}}
output: {output}
"""


def questions(article):
    return [
        {
            "id": f"{article}-{number}",
            "question": question,
            "answers": [] if answer is None else [{"text": answer, "answer_start": CONTEXT.index(answer)}],
            "is_impossible": answer is None,
        }
        for number, (question, answer) in enumerate(QUESTIONS * 2)
    ]


def test_from_a_config_to_a_model_that_is_judged(tmp_path):
    model = kzoo.Embed(tiny.bert(num_layers=1)).save(tmp_path / "encoder")
    articles = [
        {"title": f"article {name}", "paragraphs": [{"context": CONTEXT, "qas": questions(name)}]} for name in "abc"
    ]
    data = tmp_path / "questions.json"
    data.write_text(json.dumps({"version": "v2.0", "data": articles}))
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(model=model, data=data, output=tmp_path / "run"))
    run = train(read_config(path), say=lambda line: None)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    measured = run.metrics["validation"]
    assert run.metrics["best"]["measure"] == "val_f1" and run.metrics["best"]["value"] == measured["f1"]
    assert max(epoch["val_f1"] for epoch in run.history) == measured["f1"] >= measured["exact_match"]

    task = kzoo.load_task(run.model)
    assert task.options() == run.task.options() and (run.model / "adapter" / "adapter_config.json").is_file()
    held_out = kzoo.data.split(kzoo.data.read(data), held_out=6, group="title")[1]
    assert len(set(held_out["title"])) == 1 and len(held_out) == 6
    found = kzoo.judge(task, held_out).figures
    assert (found["f1"], found["exact_match"]) == pytest.approx((measured["f1"], measured["exact_match"]))
