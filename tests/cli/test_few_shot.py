"""``kzoo few-shot``: from a table to a model that answers, and mistakes told in a sentence."""

import json

import pytest

from kzoo import Generate
from tests import tiny

ROWS = "body,queue\nthe film was good,praise\na bad film,blame\nit was not bad,praise\nbad,blame\n"
TEMPLATE = "template='{text}: {label}'"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few_shot")
    Generate(tiny.gpt2(num_positions=120), max_length=100).save(folder / "decoder")
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    return folder


def test_a_table_becomes_a_model_that_is_asked_and_measured(run, place):
    output = str(place / "made")
    columns = ["--text", "body", "--label", "queue"]
    options = [f"--option={one}" for one in (TEMPLATE, "shots=2", "max_length=100", "choose=random")]
    made = run("few-shot", str(place / "decoder"), str(place / "rows.csv"), *columns, *options, "-o", output)
    assert made.exit_code == 0, made.stderr
    assert "2 demonstrations, random" in made.stderr
    assert len((place / "made" / "model" / "pool.jsonl").read_text().splitlines()) == 2
    again = run("few-shot", str(place / "decoder"), str(place / "rows.csv"), *columns, *options, "-o", output)
    assert again.exit_code == 2 and "add --overwrite" in again.stderr
    measured = run("evaluate", output, str(place / "rows.csv"), *columns, "--option", "abstain_below=0.9", "--json")
    figures = json.loads(measured.stdout)
    assert figures["examples"] == 4 and figures["abstain_below"] == 0.9 and 0 <= figures["coverage"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL"], "Name the pool behind the model"),
        (["MODEL", "POOL", "-o", "OUT", "--option", "shot=2"], "few_shot has no option shot"),
        (["MODEL", "POOL", "-o", "OUT"], "There is no column 'text'"),
        (["configs/few_shot/movie-reviews.yaml", "POOL"], "Leave POOL"),
        (["configs/classify/movie-reviews.yaml", "-o", "OUT"], "The config's task is classify"),
    ],
)
def test_mistakes_are_told(run, place, arguments, message):
    meant = {"MODEL": place / "decoder", "POOL": place / "rows.csv", "OUT": place / "other"}
    result = run("few-shot", *(str(meant.get(one, one)) for one in arguments))
    assert result.exit_code == 2
    assert message in result.stderr


def test_kzoo_train_points_to_the_command(run, tmp_path):
    result = run("train", "configs/few_shot/movie-reviews.yaml", f"output={tmp_path / 'run'}")
    assert result.exit_code == 2
    assert "kzoo few-shot CONFIG.yaml" in result.stderr
