"""A bundle: what stands in it parses, its README is true, versions appear whole, mistakes leave no trace."""

import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving import promotion, protos, saved_model
from kzoo.serving.bundle import bundle
from kzoo.serving.launch import server_flags
from kzoo.serving.server import versions as served_versions


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path):
    """A folder that passes for a SavedModel of kzoo's, quick to copy."""
    extra = tmp_path / "small" / saved_model.EXTRA
    extra.mkdir(parents=True)
    (tmp_path / "small" / "saved_model.pb").write_bytes(b"graph")
    entry = {"inputs": {"text": {"dtype": "string", "shape": [None]}}, "outputs": {}, "defaults": {}}
    example = {"inputs": {"text": ["it's $5"]}, "outputs": {"label": ["good"], "scores": [[0.25, 0.75]]}}
    description = {
        "task": "classify",
        "signatures": {"serving_default": entry},
        "examples": {"serving_default": example},
    }
    (extra / saved_model.DESCRIPTION).write_text(json.dumps(description))
    return tmp_path / "small"


def test_it_holds_what_the_server_needs(tmp_path, classify, generate):
    path = bundle({"reviews": classify.path, "story": generate.path}, tmp_path / "bundle")
    for name, source in (("reviews", classify.path), ("story", generate.path)):
        assert files(path / "models" / name / "1") == files(source)
    config = protos.read(path / "models.config", protos.ModelServerConfig)
    assert [(one.name, one.base_path, one.model_platform) for one in config.model_config_list.config] == [
        ("reviews", "/models/reviews", "tensorflow"),
        ("story", "/models/story", "tensorflow"),
    ]
    assert protos.read(path / "batching.config", protos.BatchingParameters).thread_pool_name.value == "batches"
    batching = protos.read(path / "models" / "reviews" / "1" / "batching_params.pbtxt", protos.BatchingParameters)
    assert not batching.allowed_batch_sizes  # a batch is not padded
    assert batching.max_execution_batch_size.value == 2 and batching.max_batch_size.value == 1024
    monitoring = protos.read(path / "monitoring.config", protos.MonitoringConfig)
    assert monitoring.prometheus_config.enable
    clients = ["ask.go", "ask.mjs", "ask.sh", "ask_grpc.py", "ask_rest.py"]
    assert sorted(child.name for child in (path / "clients").iterdir()) == clients
    assert sorted(child.name for child in (path / "prometheus").iterdir()) == ["dashboard.json", "prometheus.yml"]
    assert not list(path.rglob(".*"))


def test_the_compose_file_starts_the_server_with_kzoos_flags(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    service = yaml.safe_load((path / "compose.yaml").read_text())["services"]["serving"]
    assert service["image"] == "tensorflow/serving:2.19.1"
    flags = server_flags("/bundle", models_config="/bundle/models.config", rest_port=8501, grpc_port=8500)
    assert service["entrypoint"] == ["tensorflow_model_server"] and service["command"] == flags
    assert service["volumes"] == ["./models:/models:ro", ".:/bundle:ro"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    names = subprocess.run(
        ["sed", "-n", re.search(r"sed -n '(.*?)'", service["healthcheck"]["test"][3])[1], path / "models.config"],
        capture_output=True,
        text=True,
    )
    assert names.stdout.split() == ["small"]
    checked = subprocess.run(["bash", "-n", "-c", service["healthcheck"]["test"][3].replace("$$", "$")])
    assert checked.returncode == 0


def questions(readme: str) -> list[tuple[str, dict]]:
    """Path and body of each curl line that asks for a prediction."""
    lines = [shlex.split(line) for line in readme.splitlines() if line.startswith("curl") and ":predict" in line]
    return [(line[2].partition("8501")[2], json.loads(line[4])) for line in lines]


def test_the_readme_asks_every_signature_in_full(tmp_path, generate):
    path = bundle({"story": generate.path}, tmp_path / "bundle")
    readme = (path / "README.md").read_text()
    prompt = {"prompt": "Once upon a time"}
    asked = {body.get("signature_name", "serving_default"): body["instances"] for _, body in questions(readme)}
    signatures = saved_model.description(generate.path)["signatures"]
    assert asked.keys() == signatures.keys() and asked["serving_default"] == [prompt]
    knobs = {"max_new_tokens": 4, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}
    assert (prompt | knobs).items() <= asked["generate"][0].items()
    assert all(instances[0].keys() == signatures[name]["inputs"].keys() for name, instances in asked.items())
    answer = generate.task.predict("Once upon a time")[0]["text"]
    assert json.dumps({"predictions": [answer]}, ensure_ascii=False) in readme
    assert "`temperature` (0.0)" in readme


def test_the_readme_quotes_what_a_shell_would_take_for_its_own(tmp_path, small):
    readme = (bundle({"small": small}, tmp_path / "bundle") / "README.md").read_text()
    assert questions(readme) == [("/v1/models/small:predict", {"instances": [{"text": "it's $5"}]})]
    assert '{"predictions": [{"label": "good", "scores": [0.25, 0.75]}]}' in readme


def test_the_readme_shows_the_beginning_of_long_answers(tmp_path, small):
    path = small / saved_model.EXTRA / saved_model.DESCRIPTION
    description = json.loads(path.read_text())
    outputs = {"text": ["x" * 300], "vector": [[0.0] * 384]}
    description["examples"]["serving_default"]["outputs"] = outputs
    path.write_text(json.dumps(description))
    readme = (bundle({"small": small}, tmp_path / "bundle") / "README.md").read_text()
    assert f'{{"text": "{"x" * 200}...", "vector": [0.0, 0.0, 0.0, "..."]}}' in readme


def test_a_bundle_grows_and_keeps_what_a_person_changed(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    config = protos.read(path / "models.config", protos.ModelServerConfig)
    config.model_config_list.config[0].version_labels["stable"] = 1
    protos.write(path / "models.config", config)
    (path / "compose.yaml").write_text("mine")
    (path / "models" / "small" / ".2.incoming-0123").mkdir()  # of a copy that was killed

    bundle({"small": small, "other": small}, path)
    bundle({"small": small}, path, version=9)
    bundle({"small": small}, path)
    assert bundles.versions(path, "small") == [1, 2, 9, 10] and bundles.versions(path, "other") == [1]
    models = protos.read(path / "models.config", protos.ModelServerConfig).model_config_list.config
    assert [one.name for one in models] == ["small", "other"] and models[0].version_labels["stable"] == 1
    assert (path / "compose.yaml").read_text() == "mine"
    assert "| `other` |" in (path / "README.md").read_text()
    assert not list(path.rglob(".*"))


def test_old_versions_go_but_for_those_that_are_needed(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    for _ in range(5):
        bundle({"small": small}, path)
    promotion.promote(path, "small", 2, offline=True)
    promotion.promote(path, "small", 3, offline=True)  # a rollback goes to 2
    promotion.promote(path, "small", 4, label="canary", offline=True)
    (path / "models" / "small" / ".1.removed").mkdir()  # of a removal that was killed
    bundle({"small": small}, path, keep=1)
    assert bundles.versions(path, "small") == [2, 3, 4, 7]
    assert sorted(child.name for child in (path / "models" / "small").iterdir()) == ["2", "3", "4", "7"]
    promotion.promote(path, "small", 7, offline=True)
    promotion.remove_label(path, "small", "canary")
    bundle({}, path, keep=1)
    assert bundles.versions(path, "small") == [3, 7]
    with pytest.raises(UserError, match="At least one version of a model is kept. Received 0"):
        bundle({}, path, keep=0)


def test_a_copy_that_is_killed_is_never_served_and_the_next_one_cleans_up(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    code = """
import pathlib, shutil, sys, time
from kzoo.serving.bundle import bundle
copy, copied = shutil.copyfile, []

def slowly(source, target):
    if copied:
        pathlib.Path(target).write_bytes(b"half")
        print("half", flush=True)
        time.sleep(600)
    copied.append(copy(source, target))

shutil.copyfile = slowly
bundle({"small": sys.argv[1]}, sys.argv[2])
"""
    checkout = Path(bundles.__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(small), str(path)], stdout=subprocess.PIPE, text=True, cwd=checkout
    )
    assert child.stdout.readline() == "half\n"
    base = path / "models" / "small"
    (half,) = base.glob(".*")
    assert any(half.rglob("*"))  # it stands there
    assert served_versions.on_disk(str(base)) == {1: str(base / "1")}
    child.kill()
    child.wait()
    assert half.exists() and served_versions.on_disk(str(base)) == {1: str(base / "1")}
    assert bundles.versions(path, "small") == [1]
    bundle({"small": small}, path)
    assert not half.exists() and files(base / "2") == files(base / "1")


def test_a_model_whose_requests_cannot_meet_in_a_batch_is_not_batched(tmp_path, small):
    path = small / saved_model.EXTRA / saved_model.DESCRIPTION
    description = json.loads(path.read_text())
    shapes = {"text": [None], "ids": [None, None]}
    for kept in (["text"], ["text", "ids"]):
        inputs = {name: {"dtype": "string", "shape": shapes[name]} for name in kept}
        description["signatures"]["serving_default"]["inputs"] = inputs
        path.write_text(json.dumps(description | {"examples": {}}))
        made = bundle({"small": small}, tmp_path / "-".join(kept))
        assert (made / "models" / "small" / "1" / "batching_params.pbtxt").exists() == (kept == ["text"])
    (small / "batching_params.pbtxt").write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    with pytest.raises(UserError, match="batching_params.pbtxt: the last of allowed_batch_sizes must equal"):
        bundle({"small": small}, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_a_model_that_kzoo_did_not_make_is_bundled_too(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def total(x):
        return {"sum": tf.reduce_sum(x, -1)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "sum"), signatures={"serving_default": total})
    path = bundle({"sum": tmp_path / "sum"}, tmp_path / "bundle")
    assert questions((path / "README.md").read_text()) == [
        ("/v1/models/sum:predict", {"instances": [{"x": [0.0, 0.0]}]})
    ]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path, small, monkeypatch, is_new):
    target = tmp_path / "bundle"
    if not is_new:
        bundle({"small": small}, target)
    before = files(tmp_path)
    copy, copied = shutil.copyfile, []

    def full(source, destination, **_):
        if len(copied) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(destination))
        copied.append(copy(source, destination))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="No space is left to write"):
        bundle({"small": small, "other": small}, target)
    assert files(tmp_path) == before
    assert not list(tmp_path.rglob("*incoming*"))


def test_two_writers_at_once_are_kept_apart(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another kzoo is writing"):
            bundle({"small": small}, path)
    finally:
        os.close(handle)
    assert bundles.versions(path, "small") == [1]


def damaged(path: Path, how: str) -> Path:
    """A SavedModel with something amiss."""
    if how == "no graph":
        (path / "saved_model.pb").unlink()
    elif how == "versions":
        (path / "saved_model.pb").rename(path / "moved")
        (path / "4").mkdir()
    elif how == "empty graph":
        (path / "saved_model.pb").write_bytes(b"")
    elif how == "no index":
        (path / "variables").mkdir()
        (path / "variables" / "variables.data-00000-of-00001").write_bytes(b"w")
    elif how == "missing shard":
        (path / "variables").mkdir()
        (path / "variables" / "variables.index").write_bytes(b"i")
        (path / "variables" / "variables.data-00000-of-00002").write_bytes(b"w")
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no graph", "small is not a SavedModel: it has no saved_model.pb. Write a SavedModel with kzoo export."),
        ("versions", "it has no saved_model.pb. Its subfolder 4 may be meant."),
        ("empty graph", "saved_model.pb is empty: the SavedModel is damaged."),
        ("no index", "lacks a part of the weights"),
        ("missing shard", "lacks a part of the weights"),
    ],
)
def test_what_is_no_whole_saved_model_is_refused(tmp_path, small, how, message):
    with pytest.raises(UserError, match=re.escape(message)):
        bundle({"m": damaged(small, how)}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ({}, {}, "A bundle needs a model"),
        ({"a/b": "small"}, {}, "letters, digits.*Received 'a/b'"),
        ({"..": "small"}, {}, "letters, digits.*Received '..'"),
        ({"m": "small"}, {"version": 0}, "A version must be a whole number from 1. Received 0"),
        ({"m": "missing"}, {}, "There is no SavedModel at .*missing: it does not exist"),
    ],
)
def test_what_cannot_be_bundled_is_refused(tmp_path, small, models, options, message):
    models = {name: tmp_path / source for name, source in models.items()}
    with pytest.raises(UserError, match=message):
        bundle(models, tmp_path / "bundle", **options)
    assert not (tmp_path / "bundle").exists()


def test_a_version_that_exists_is_never_replaced(tmp_path, small):
    path = bundle({"small": small}, tmp_path / "bundle")
    before = files(path)
    with pytest.raises(UserError, match="has version 1 of small already.*the next one, 2"):
        bundle({"small": small}, path, version=1)
    assert files(path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"notes.txt": ""}, "bundle is not a bundle: it has no models.config"),
        ({"models.config": "model_config_list { confg {} }"}, "models.config, line 1 is not a valid ModelServerConfig"),
        (
            {"models.config": 'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" }}'},
            "each base_path must be /models/NAME.*Received /m",
        ),
    ],
)
def test_a_folder_of_another_kind_is_left_alone(tmp_path, small, content, message):
    target = tmp_path / "bundle"
    target.mkdir()
    for name, text in content.items():
        (target / name).write_text(text)
    before = files(target)
    with pytest.raises(UserError, match=message):
        bundle({"m": small}, target)
    assert files(target) == before


def test_bundling_needs_no_tensorflow(tmp_path, small):
    code = f"""
import sys
from kzoo.serving.bundle import bundle
bundle({{"small": {str(small)!r}}}, {str(tmp_path / "bundle")!r})
assert not {{"tensorflow", "keras"}} & set(sys.modules), "bundling waited for TensorFlow"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(bundles.__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
