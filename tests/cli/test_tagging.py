"""Entities from CoNLL's columns to a served answer, by the commands of docs/named-entities.md."""

import json
import re
from pathlib import Path

import pytest
import yaml

import kzoo
from kzoo.serving.bundle import bundle
from kzoo.serving.launch import serve
from tests import tiny

GUIDE = Path(__file__).parents[2] / "docs" / "named-entities.md"
SENTENCES = [
    "the\tO\ngood\tB-film\nfilm\tI-film\nwas\tO\nbad\tB-mood\n",
    "it\tO\nwas\tO\na\tO\nbad\tB-film\nfilm\tI-film\n",
    "not\tB-mood\ngood\tI-mood\nat\tO\nall\tO\n",
]
TEXT = "the good film was bad"
EXPECTED = [("good film", "film"), ("bad", "mood")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, from a config that names neither classes nor columns."""
    folder = tmp_path_factory.mktemp("tagging")
    (folder / "train.conll").write_text("\n".join(SENTENCES * 4))
    (folder / "test.conll").write_text("\n".join(SENTENCES))
    kzoo.Tag(tiny.bert(num_layers=1), labels=["x"]).save(folder / "base")
    config = {
        "model": {"name": str(folder / "base")},
        "task": {"name": "tag", "options": {"dropout": 0.0}},
        "data": {"train": str(folder / "train.conll"), "validation": str(folder / "test.conll")},
        "training": {"epochs": 12, "batch_size": 4, "learning_rate": 0.02, "best": "val_f1", "result": "best"},
        "logging": {"progress": "none", "tensorboard": False},
        "output": str(folder / "run"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    kzoo.train(folder / "config.yaml", say=lambda text: None)
    return folder


def found(answer):
    return [(one["text"], one["type"]) for one in answer["entities"]]


def test_a_run_finds_its_types_in_the_data_and_keeps_the_best_by_f1(trained):
    assert yaml.safe_load((trained / "run" / "config.yaml").read_text())["task"]["labels"] == ["film", "mood"]
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert metrics["best"]["measure"] == "val_f1" and metrics["best"]["value"] == 1.0


def test_predict_and_evaluate(run, trained):
    answer = run("predict", str(trained / "run"), TEXT, "")
    assert answer.exit_code == 0, answer.output
    first, second = map(json.loads, answer.stdout.splitlines())
    assert found(first) == EXPECTED and second["entities"] == []
    assert [(one["start"], one["end"]) for one in first["entities"]] == [(4, 13), (18, 21)]

    answer = run(
        "evaluate", str(trained / "run"), str(trained / "test.conll"), "--json", "--output", str(trained / "out")
    )
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)
    assert figures["f1"] == figures["strict_f1"] == figures["surface_f1"] == 1.0 and figures["entities"] == 4
    page = (trained / "out" / "report.html").read_text()
    assert "What was taken for what" in page and "<svg" in page

    lines = [json.dumps({"post": TEXT, "spans": [[4, 13, "film"], [18, 21, "film"]]})]
    (trained / "spans.jsonl").write_text("\n".join(lines))
    answer = run(
        "evaluate", str(trained / "run"), str(trained / "spans.jsonl"), "--text", "post", "--label", "spans", "--json"
    )
    assert json.loads(answer.stdout)["f1"] == 0.5


def test_served_and_asked(run, trained):
    answer = run("export", str(trained / "run"), str(trained / "export"))
    assert answer.exit_code == 0, answer.output
    path = bundle({"names": trained / "export"}, trained / "bundle")
    with serve(path, rest_port=0, grpc_port=0, runner="embedded", say=str) as server:
        for address in (server.rest_address.removeprefix("http://"), f"grpc://{server.grpc_address}"):
            answer = run("query", address, "--model", "names", TEXT, "no", "--json")
            assert answer.exit_code == 0, answer.output
            first, second = map(json.loads, answer.stdout.splitlines())
            assert first["text"] == ["good film", "bad"] and first["start"] == [4, 18] and first["count"] == 2
            assert second["count"] == len([one for one in second["text"] if one])
        answer = run("query", address, "--model", "names", "--signature", "tokens", TEXT, "--json")
        assert json.loads(answer.stdout)["label"] == ["O", "B-film", "I-film", "O", "B-mood"]


def test_a_person_reads_entities(capsys):
    from kzoo.cli.predict import show

    served = {
        "text": ["Bonn", ""],
        "type": ["place", ""],
        "score": [0.9, 0.0],
        "start": [3, 0],
        "end": [7, 0],
        "count": 1,
    }
    show(["in Bonn", "no"], [served, served | {"count": 0}], json=False)
    printed = capsys.readouterr().out
    assert "Bonn (place 0.900)" in printed and "none" in printed


@pytest.mark.slow
def test_the_guide_s_python_runs(trained, monkeypatch):
    """The blocks of the guide on the tiny run."""
    text = GUIDE.read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(trained)
    names: dict = {}
    exec(block.replace("runs/wnut17/model", "run/model").replace("data/wnut17.test.conll", "test.conll"), names)
    assert found({"entities": names["entities"]}) is not None and 0 <= names["judged"].figures["f1"] <= 1
