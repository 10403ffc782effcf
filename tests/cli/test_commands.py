"""The commands on a tiny model, from training to a served answer."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

import kzoo
from tests import tiny

LABELS = ["bad", "good"]
ROWS = [("a good film", "good"), ("a bad film", "bad"), ("it was not bad at all", "good"), ("bad, bad", "bad")] * 4


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A CSV of labelled texts."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A saved tiny classifier."""
    return kzoo.Classify(tiny.pretrained("bert"), labels=LABELS).save(tmp_path_factory.mktemp("saved") / "classifier")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A saved tiny language model."""
    task = kzoo.Generate(tiny.pretrained("gpt2"), max_new_tokens=4)
    return task.save(tmp_path_factory.mktemp("saved") / "writer")


def test_predict_prints_one_json_object_a_text_into_a_pipe(run, classifier):
    answer = run("predict", str(classifier), "a good film", "Schön")
    assert answer.exit_code == 0, answer.output
    first, second = map(json.loads, answer.stdout.splitlines())
    assert (first["input"], second["input"]) == ("a good film", "Schön")
    assert first["label"] in LABELS
    assert sum(second["scores"]) == pytest.approx(1, abs=1e-5)


def test_predict_reads_a_file(run, classifier, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a good film\n\nbad\n")
    lines = run("predict", str(classifier), "--file", str(path)).stdout.splitlines()
    assert [json.loads(line)["input"] for line in lines] == ["a good film", "", "bad"]


def test_predict_refuses_another_task_than_the_model_was_saved_for(run, classifier):
    answer = run("predict", str(classifier), "a text", "--task", "embed")
    assert (answer.exit_code, answer.stderr) == (
        2,
        f"error: {classifier} was saved for the task classify, not embed.\n",
    )


def test_generate_prints_prompt_and_continuation(run, writer):
    answer = run("generate", str(writer), "the film", "a good", "--max-new-tokens", "2")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("the film")
    assert "\na good" in answer.stdout


def test_generate_gives_the_same_text_for_the_same_seed(run, writer):
    ask = ("generate", str(writer), "the film", "--temperature", "2", "--json")
    first, again = (run(*ask, "--seed", "1").stdout for _ in range(2))
    assert json.loads(first)["prompt"] == "the film"
    assert first == again


def test_generate_refuses_more_than_the_model_was_saved_for(run, writer):
    answer = run("generate", str(writer), "the film", "--max-new-tokens", "5")
    assert answer.exit_code == 2
    assert "must not exceed the task's 4" in answer.stderr


def test_evaluate_measures_with_an_interval(run, classifier, reviews):
    answer = run("evaluate", str(classifier), str(reviews), "--json")
    assert answer.exit_code == 0, answer.output
    results = json.loads(answer.stdout)
    low, high = results["accuracy_interval_95"]
    assert results["examples"] == len(ROWS)
    assert 0 <= low <= results["accuracy"] <= high <= 1
    labels = [one["label"] for one in kzoo.load_task(classifier).predict([text for text, _ in ROWS])]
    right = sum(label == expected for label, (_, expected) in zip(labels, ROWS, strict=True))
    assert results["accuracy"] == pytest.approx(right / len(ROWS))


def test_evaluate_takes_other_names_of_columns(run, classifier, reviews, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text(reviews.read_text().replace("text,label", "review,sentiment"))
    answer = run("evaluate", str(classifier), str(path), "--text", "review", "--label", "sentiment", "--json")
    assert json.loads(answer.stdout)["examples"] == len(ROWS)


def test_evaluate_writes_figures_and_a_page(run, classifier, reviews, tmp_path):
    answer = run("evaluate", str(classifier), str(reviews), "--output", str(tmp_path / "judged"))
    assert answer.exit_code == 0, answer.output
    assert "macro f1" in answer.stdout and "per class" not in answer.stdout
    results = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert results["examples"] == len(ROWS) and set(results["per_class"]) == set(LABELS)
    page = (tmp_path / "judged" / "report.html").read_text()
    assert page.count("<svg") == 5 and "Confusion matrix" in page and str(reviews) in page


def test_evaluate_says_when_a_run_learned_from_the_rows(run, classifier, reviews, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(classifier, folder / "model")
    config = {"model": {"name": "tiny"}, "task": {"name": "classify"}, "data": {"train": str(reviews), "held_out": 2}}
    (folder / "config.yaml").write_text(json.dumps(config | {"output": str(folder)}))
    again = tmp_path / "other.csv"
    again.write_bytes(reviews.read_bytes())
    out = tmp_path / "judged"
    flattered = run("evaluate", str(folder), str(reviews.parent / "." / reviews.name), "--output", str(out))
    assert f"learned from rows of {reviews}, so the figures flatter it" in flattered.stderr
    assert "so the figures flatter it" in (out / "report.html").read_text()
    held_out = run("evaluate", str(folder))
    other = run("evaluate", str(folder), str(again))
    (folder / "config.yaml").write_text("of: another version")
    unknown = run("evaluate", str(folder), str(reviews))
    for answer in (held_out, other, unknown):
        assert answer.exit_code == 0, answer.output
        assert "flatter" not in answer.stderr


def test_evaluate_reads_a_long_text(run, writer, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("the film was good @-@ natured , bad and all ! " * 4)
    answer = run("evaluate", str(writer), str(path), "--stride", "8", "--window", "16", "--json")
    assert answer.exit_code == 0, answer.output
    results = json.loads(answer.stdout)
    assert (results["window"], results["stride"], results["words"]) == (16, 8, 44)
    assert results["text"].endswith("(not detokenized)")
    low, high = results["perplexity_interval_95"]
    assert low <= results["perplexity"] <= high
    answer = run("evaluate", str(writer), str(path), "--window", "16")
    assert answer.exit_code == 2 and "belong to --stride" in answer.stderr


def test_evaluate_lets_a_model_write(run, writer, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("the film was good and all bad\nit was not a film at all\n")
    answer = run("evaluate", str(writer), str(path), "--samples", "2", "--output", str(tmp_path / "out"), "--json")
    assert answer.exit_code == 0, answer.output
    results = json.loads(answer.stdout)
    assert {"perplexity", "distinct_1", "distinct_2", "self_bleu"} <= set(results) and results["samples"] == 2
    assert "it was not a film" in (tmp_path / "out" / "report.html").read_text()
    refused = run("evaluate", str(writer), str(path), "--samples", "2", "--stride", "8")
    assert refused.exit_code == 2 and "Give one of them" in refused.stderr


def test_a_model_of_pairs_from_the_command_line(run, tmp_path):
    model = kzoo.Regress(tiny.pretrained("bert", num_layers=1), pair=True).save(tmp_path / "model")
    path = tmp_path / "pairs.csv"
    path.write_text("one,other,score\na film,the film,4.5\nbad,good,0\ngood,a bad film,1\n")
    columns = ("--text", "one", "--text-pair", "other", "--label", "score")
    measured = run("evaluate", str(model), str(path), *columns, "--json")
    assert measured.exit_code == 0, measured.output
    assert {"spearman", "pearson", "absolute_error", "spearman_interval_95"} <= set(json.loads(measured.stdout))
    asked = run("predict", str(model), "a film", "--pair", "the film", "--json")
    assert asked.exit_code == 0, asked.output
    assert isinstance(json.loads(asked.stdout)["score"], float)
    (model / "kzoo.json").unlink()
    again = run("predict", str(model), "a film", "--task", "regress", "--json")  # a checkpoint of transformers
    assert isinstance(json.loads(again.stdout)["score"], float)
    (encoder := tmp_path / "encoder").mkdir()
    kzoo.Embed(tiny.pretrained("bert", num_layers=1)).save(encoder)
    (encoder / "kzoo.json").unlink()
    headless = run("predict", str(encoder), "a film", "--task", "regress")
    assert headless.exit_code == 2 and "has no head for numbers of its own" in headless.stderr


def test_texts_for_a_model_of_pairs_must_be_pairs(run, tmp_path):
    model = kzoo.Regress(tiny.pretrained("bert", num_layers=1), pair=True).save(tmp_path / "model")
    refused = run("predict", str(model), "a film")
    assert refused.exit_code == 2 and "reads two texts: add --pair TEXT" in refused.stderr
    uneven = run("predict", str(model), "a film", "another", "--pair", "the film")
    assert uneven.exit_code == 2 and "Received 1 for 2" in uneven.stderr
    embedded = run("evaluate", str(model), "rows.csv", "--task", "embed")
    assert embedded.exit_code == 2 and "was saved for the task regress, not embed" in embedded.stderr


CONTEXT = "it was a bad film. the good film was not bad at all"
QUESTION = {"question": "what was good", "context": CONTEXT, "answer": "good film"}


@pytest.fixture(scope="module")
def answerer(tmp_path_factory):
    """A saved tiny model that answers questions."""
    task = kzoo.Answer(tiny.pretrained("bert", num_layers=1), max_length=24, stride=8, max_answer_tokens=4)
    task.head.kernel.assign(task.head.kernel * 50)
    return task.save(tmp_path_factory.mktemp("saved") / "answerer")


def test_questions_from_the_command_line(run, answerer, tmp_path):
    asked = run("predict", str(answerer), "what was good", "what was bad", "--context", CONTEXT)
    assert asked.exit_code == 0, asked.output
    lines = list(map(json.loads, asked.stdout.splitlines()))
    assert [line["input"] for line in lines] == ["what was good", "what was bad"]
    for line in lines:
        assert line["answer"] == (CONTEXT[line["start"] : line["end"]] if line["start"] >= 0 else "")
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(QUESTION) + "\n")
    (again,) = run("predict", str(answerer), "--file", str(path)).stdout.splitlines()
    assert json.loads(again) == lines[0]
    for arguments, message in (
        (("what",), "reads a question and a passage: add --context TEXT"),
        (("what", "--pair", "a film"), "reads a question and a passage: add --context TEXT"),
        (("what", "--context", "a", "--context", "b"), "once for each question. Received 2 for 1"),
        (("what", "--context", "a", "--pair", "b"), "Give one of them"),
    ):
        refused = run("predict", str(answerer), *arguments)
        assert refused.exit_code == 2 and message in refused.stderr
    path.write_text('{"question": "what"}\n')
    refused = run("predict", str(answerer), "--file", str(path))
    assert refused.exit_code == 2 and "add --context" in refused.stderr


def test_a_classifier_reads_no_passage(run, classifier):
    refused = run("predict", str(classifier), "what", "--context", "a film")
    assert refused.exit_code == 2 and "reads one text: leave --context out" in refused.stderr


def test_answers_are_measured_and_their_threshold_learned(run, answerer, classifier, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(answerer, model)
    path = tmp_path / "questions.jsonl"
    nothing = QUESTION | {"question": "who", "answer": ""}
    path.write_text("".join(json.dumps(line) + "\n" for line in (QUESTION, nothing, nothing)))
    measured = run(
        "evaluate", str(model), str(path), "--json", "--learn-threshold", "--output", str(tmp_path / "judged")
    )
    assert measured.exit_code == 0, measured.output
    figures = json.loads(measured.stdout)
    assert figures["examples"] == 3 and figures["answering_nothing"] == pytest.approx(2 / 3)
    assert {"exact_match", "f1", "f1_interval_95", "has_answer_f1", "no_answer_f1"} <= set(figures)
    assert "Kept in" in measured.stderr and "measure on others" in measured.stderr
    kept = json.loads((model / "kzoo.json").read_text())["options"]["threshold"]
    assert kept == pytest.approx(figures["best_f1_threshold"], rel=1e-5)
    again = json.loads(run("evaluate", str(model), str(path), "--json").stdout)
    assert again["f1"] == pytest.approx(figures["best_f1"])
    assert "The worst mistakes" in (tmp_path / "judged" / "report.html").read_text()
    refused = run("evaluate", str(classifier), str(path), "--learn-threshold")
    assert refused.exit_code == 2 and "is for a model that may give no answer" in refused.stderr
    headless = run("predict", str(classifier), "what", "--context", "a film", "--task", "answer")
    assert headless.exit_code == 2 and "was saved for the task classify" in headless.stderr


@pytest.mark.slow
def test_questions_are_answered_over_rest_and_grpc(run, answerer, tmp_path):
    for arguments in (
        ("export", str(answerer), str(tmp_path / "export")),
        ("bundle", str(tmp_path / "bundle"), f"answers={tmp_path / 'export'}"),
    ):
        made = run(*arguments)
        assert made.exit_code == 0, made.output
    question = ("what was good", "--context", CONTEXT)
    expected = json.loads(run("predict", str(answerer), *question).stdout)
    with served(tmp_path / "bundle") as (rest, grpc):
        for address in (rest, f"grpc://{grpc}"):
            answer = run("query", address, "--model", "answers", *question)
            assert answer.exit_code == 0, answer.output
            assert json.loads(answer.stdout) == pytest.approx(expected, abs=1e-5)
        best = run("query", rest, "--model", "answers", *question, "--signature", "n_best")
        assert len(json.loads(best.stdout)["answer"]) == 5
        alone = run("query", rest, "--model", "answers", "what was good")
        assert alone.exit_code == 2 and "reads a question and a passage: add --context TEXT" in alone.stderr


def test_evaluate_says_which_column_is_missing(run, classifier, reviews):
    answer = run("evaluate", str(classifier), str(reviews), "--label", "sentiment")
    assert answer.exit_code == 2
    assert answer.stderr.startswith(f"error: {reviews}:1: there is no column 'sentiment'")


def test_evaluate_refuses_a_label_that_the_model_does_not_know(run, classifier, tmp_path):
    path = tmp_path / "wrong.csv"
    path.write_text("text,label\na film,fair\n")
    answer = run("evaluate", str(classifier), str(path))
    assert answer.exit_code == 2
    assert "'fair'" in answer.stderr


def test_a_run_from_config_to_evaluation(run, classifier, reviews, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: {{name: {classifier}}}\n"
        f"task: {{name: classify, labels: {LABELS}}}\n"
        f"data: {{train: {reviews}, held_out: 0.25, stratify: label}}\n"
        "training: {epochs: 1, batch_size: 4, learning_rate: 1e-3}\n"
        f"output: {tmp_path / 'run'}\n"
    )
    trained = run("train", str(config), "training.epochs=2")
    assert trained.exit_code == 0, trained.output
    assert "Held-out accuracy" in trained.stderr
    assert {"config.yaml", "metrics.json", "model", "tensorboard"} <= {one.name for one in (tmp_path / "run").iterdir()}

    measured = run("evaluate", str(tmp_path / "run"), "--json")
    assert measured.exit_code == 0, measured.output
    validation = json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]
    assert json.loads(measured.stdout)["accuracy"] == pytest.approx(validation["accuracy"])
    assert json.loads(measured.stdout)["examples"] == 4

    answered = run("predict", str(tmp_path / "run"), "a good film")
    assert json.loads(answered.stdout)["label"] in LABELS


def test_from_export_to_answers_over_rest_and_grpc(run, classifier, tmp_path):
    exported = run("export", str(classifier), str(tmp_path / "export"))
    assert exported.exit_code == 0, exported.output
    assert exported.stdout == f"{tmp_path / 'export'}\n"
    again = run("export", str(classifier), str(tmp_path / "export"))
    assert again.exit_code == 2
    assert "exists" in again.stderr

    bundled = run("bundle", str(tmp_path / "bundle"), f"reviews={tmp_path / 'export'}")
    assert bundled.exit_code == 0, bundled.output
    assert "version 1" in bundled.stderr

    expected = json.loads(run("predict", str(classifier), "a good film").stdout)
    with served(tmp_path / "bundle") as (rest, grpc):
        for address in (rest, f"grpc://{grpc}"):
            answer = run("query", address, "--model", "reviews", "a good film")
            assert answer.exit_code == 0, answer.output
            told = json.loads(answer.stdout)
            assert told["label"] == expected["label"]
            assert told["scores"] == pytest.approx(expected["scores"], abs=1e-5)
        absent = run("query", rest, "--model", "reviws", "a good film")
        assert (absent.exit_code, absent.stdout) == (2, "")
        assert absent.stderr.startswith("error: Servable not found")
        other = run("query", rest, "--model", "reviews", "a good film", "--signature", "generate")
        assert other.stderr == "error: reviews has no signature generate; it has classify, serving_default.\n"


class served:  # noqa: N801 (used as a function)
    """Runs `kzoo serve` in a process of its own; ends it as an operator would, and insists that it ends in order."""

    def __init__(self, bundle):
        ports = ["--rest-port", "0", "--grpc-port", "0", "--runner", "embedded"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kzoo", "serve", str(bundle), *ports],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def __enter__(self):
        said = ""
        for line in self.process.stderr:
            said += line
            if "Ctrl-C stops" in line:
                return re.search(r"REST (\S+), gRPC (\S+)", said).groups()
        raise AssertionError(said)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        assert said.endswith("Stopped.\n")
        assert self.process.returncode == 0


def test_a_run_ends_with_the_figure_that_says_most():
    from kzoo.cli.train import held_out

    said = held_out({"loss": 1.0, "exact_match": 0.5, "f1": 0.25})
    assert said == "Held-out answers right to the letter 0.5000, F1 0.2500."
    assert held_out({"loss": 1.0, "exact_match": 0.5, "label_accuracy": 0.75}).endswith("labels 0.7500.")
    assert held_out({"loss": 1.0, "f1": 0.25}) == "Held-out F1 0.2500." and held_out({"loss": 1.0}) == ""
