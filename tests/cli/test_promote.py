"""``kzoo bundle``, ``versions``, ``promote`` and ``rollback`` on a bundle without a server."""

import json
import re

import pytest

from kzoo.serving import saved_model


@pytest.fixture
def export(tmp_path):
    """A folder that passes for a SavedModel of kzoo's, quick to copy."""
    extra = tmp_path / "export" / saved_model.EXTRA
    extra.mkdir(parents=True)
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"graph")
    entry = {"inputs": {"text": {"dtype": "string", "shape": [None]}}, "outputs": {}, "defaults": {}}
    (extra / saved_model.DESCRIPTION).write_text(json.dumps({"task": "t", "signatures": {"serving_default": entry}}))
    return tmp_path / "export"


@pytest.fixture
def path(run, export, tmp_path):
    """A bundle with two versions of m."""
    for _ in range(2):
        assert run("bundle", str(tmp_path / "bundle"), f"m={export}").exit_code == 0
    return str(tmp_path / "bundle")


def test_a_version_is_promoted_and_taken_back(run, path):
    assert "before that" not in run("promote", path, "m", "1", "--offline").stderr
    done = run("promote", path, "m", "2", "--offline")
    assert done.exit_code == 0 and "stable of m names version 2, before that 1." in done.stderr
    told = [json.loads(line) for line in run("versions", path, "--json").stdout.splitlines()]
    assert [(one["version"], one["is_loaded"], list(one["labels"])) for one in told] == [
        (2, True, ["stable"]),
        (1, False, []),
    ]
    done = run("rollback", path, "m", "--offline")
    assert done.exit_code == 0 and "stable of m names version 1." in done.stderr
    table = run("versions", path).stdout
    assert "specific:1" in table and re.search(r"stable \(20\d\d-\d\d-\d\d \d\d:\d\d\)", table)
    assert run("rollback", path, "m", "--remove").exit_code == 0
    assert "stable" not in run("versions", path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "{path}", "m", "3", "--offline"], "has no version 3 of m. It has 1, 2."),
        (["promote", "{path}", "m", "1", "--rest", "grpc://localhost:1"], "give it with --grpc"),
        (["promote", "{path}", "m", "1", "--rest", "127.0.0.1:9"], "No server answers at http://127.0.0.1:9"),
        (["versions", "{path}", "--grpc", "127.0.0.1:9"], "No server answers gRPC at 127.0.0.1:9."),
        (["rollback", "{path}", "m", "--offline"], "m has no label 'stable'. Its labels: none."),
        (["versions", "{path}/none"], "There is no bundle at"),
        (["bundle", "{path}", "--policy", "m"], "A policy is given as NAME=latest:2"),
        (["bundle", "{path}", "--policy", "n=all"], "has no model 'n'. It has m."),
        (["bundle", "{path}"], "A bundle needs a model"),
        (["bundle", "{path}", "--key", "key.pem"], "--certificate and --key belong together"),
        (["serve", "{path}", "--key", "key.pem"], "--certificate and --key belong together"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run, path, arguments, message):
    done = run(*(argument.replace("{path}", path) for argument in arguments))
    assert done.exit_code == 2 and message in done.stderr


def test_a_version_that_is_added_waits_for_its_label(run, path, export):
    assert f"Next: kzoo serve {path}" in run("bundle", path, f"m={export}").stderr
    run("promote", path, "m", "3", "--offline")
    assert f"Next: kzoo promote {path} m 4" in run("bundle", path, f"m={export}").stderr


def test_a_bundle_gets_manifests_a_policy_and_loses_old_versions(run, path, export, tmp_path):
    done = run("bundle", path, f"m={export}", "--keep", "2", "--kubernetes", "--policy", "m=latest:2")
    assert done.exit_code == 0 and "deployment-gpu.yaml" in done.stderr
    told = [json.loads(line) for line in run("versions", path, "--json").stdout.splitlines()]
    assert [(one["version"], one["policy"], one["is_loaded"]) for one in told] == [
        (3, "latest:2", True),
        (2, "latest:2", True),
    ]
