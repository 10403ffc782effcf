"""What a model writes beside the right answers: figures, the copy, the report."""

import json

import pytest
from typer.testing import CliRunner

import kzoo
from kzoo import metrics
from kzoo.cli.main import app
from kzoo.errors import UserError
from kzoo.training.judging import judge
from tests import tiny

PROMPTS = ["the film", "a good film", "it was bad", "not at all", "good"]
ANSWERS = ["was good", " a film ", "not", "", "good"]


@pytest.fixture(scope="module")
def task():
    made = tiny.talkative(tiny.gpt2(num_layers=1))
    return kzoo.Generate(made, max_length=24, max_new_tokens=4, prompt_template="{prompt}: ", temperature=0.9)


def test_the_figures_are_of_greedy_answers_and_of_the_prompts(task):
    found = judge(task, {"prompt": PROMPTS, "answer": ANSWERS}, batch_size=2)
    figures = found.figures
    rows = [0, 1, 2, 4]
    right = [ANSWERS[row].strip() for row in rows]
    prompts = [PROMPTS[row] for row in rows]
    written = [text.strip() for text in task.generate(prompts, temperature=0.0)]
    assert figures["bleu"] == pytest.approx(metrics.bleu(written, right).value)
    assert figures["chrf"] == pytest.approx(metrics.chrf(written, right).value)
    assert figures["copy_chrf"] == pytest.approx(metrics.chrf(prompts, right).value)
    assert figures["copy_rouge_l"] == pytest.approx(metrics.rouge(prompts, right)["rouge_l"].value)
    assert figures["copy_exact_match"] == 0.25 and figures["left_out"] == 1 and figures["pairs"] == 4
    expected = kzoo.evaluate(task, {"prompt": [*PROMPTS[:4], "good " * 9], "answer": ANSWERS}, batch_size=2)
    other = judge(task, {"prompt": [*PROMPTS[:4], "good " * 9], "answer": ANSWERS}, batch_size=3).figures
    assert expected["accuracy"] == pytest.approx(other["accuracy"]), "whatever the lengths of the batches"
    expected = kzoo.evaluate(task, {"prompt": PROMPTS, "answer": ANSWERS})
    assert figures["loss"] == pytest.approx(expected["loss"], rel=1e-5) and figures["tokens"] == expected["tokens"]
    assert set(figures["signatures"]) == {"bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"}
    beside, answers = found.tables
    assert [row[0] for row in beside.rows] == ["bleu", "chrf", "rouge 1", "rouge 2", "rouge l", "exact match"]
    assert "version:2" in beside.note and beside.rows[1][1] == figures["chrf"]
    assert sorted(row[0] for row in answers.rows) == sorted(prompts)
    assert [row[3] for row in answers.rows] == sorted(row[3] for row in answers.rows)


def test_answers_that_are_right_are_perfect(task):
    prompts = ["the film", "a good film", "it was bad"]
    right = task.generate(prompts, temperature=0.0)
    assert all(text.strip() for text in right)
    figures = judge(task, {"prompt": prompts, "answer": right}).figures
    assert figures["exact_match"] == 1.0 and figures["chrf"] == pytest.approx(100.0)
    with pytest.raises(UserError, match="holds no answer to compare with"):
        judge(task, {"prompt": ["a"], "answer": [" "]})


def test_the_command_writes_a_report(task, tmp_path):
    task.save(tmp_path / "model")
    lines = [{"source": prompt, "target": answer} for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ["evaluate", str(tmp_path / "model"), str(tmp_path / "pairs.jsonl"), "--prompt", "source"]
    arguments += ["--answer", "target", "--output", str(tmp_path / "judged")]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    results = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert results["signatures"]["chrf"].startswith("nrefs:1|") and results["copy_exact_match"] == 0.25
    page = (tmp_path / "judged" / "report.html").read_text()
    assert "The model beside a copy of the prompt" in page and "it was bad" in page
    for option, said in (
        ("max_new_tokens=3", "was saved with its own max_new_tokens"),
        ("max_new_tokens", "An option is KEY=VALUE"),
    ):
        refused = CliRunner().invoke(app, [*arguments, "--option", option])
        assert refused.exit_code and said in " ".join(refused.output.split())
