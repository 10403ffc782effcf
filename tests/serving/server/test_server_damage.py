"""Versions that are damaged, and copies that were killed: the server goes on with the last whole one and says why."""

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from kzoo.serving import protos
from kzoo.serving.client import connect
from kzoo.serving.server import Server, warmup


def _config(**bases):
    config = protos.ModelServerConfig()
    for name, path in bases.items():
        config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    return config


def _variables(path):
    return path / "variables" / "variables.data-00000-of-00001"


def _replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def _warm_up(path, content):
    (path / "assets.extra").mkdir(exist_ok=True)
    (path / warmup.FILE).write_bytes(content)


DAMAGES = {
    "no graph": (lambda path: (path / "saved_model.pb").unlink(), "NOT_FOUND: Could not find SavedModel .pb"),
    "a graph of garbage": (lambda path: (path / "saved_model.pb").write_bytes(b"\x99" * 999), "Can't parse"),
    "half a graph": (
        lambda path: os.truncate(path / "saved_model.pb", (path / "saved_model.pb").stat().st_size // 2),
        "Can't parse|Could not find meta graph def",
    ),
    "a folder for a graph": (lambda path: _replaced_by_a_folder(path / "saved_model.pb"), "Is a directory"),
    "no weights": (lambda path: _variables(path).unlink(), "No such file|NOT_FOUND"),
    "half the weights": (lambda path: os.truncate(_variables(path), 2), "DATA_LOSS|OUT_OF_RANGE|EOF"),
    "an index of garbage": (
        lambda path: (path / "variables" / "variables.index").write_bytes(b"\x99" * 99),
        "DATA_LOSS|not an sstable|bad magic",
    ),
    "no index": (lambda path: (path / "variables" / "variables.index").unlink(), "variables.index is missing"),
    "a warm-up of garbage": (lambda path: _warm_up(path, b"\x99" * 99), "DATA_LOSS|corrupted"),
    "batching that contradicts itself": (
        lambda path: (path / "batching_params.pbtxt").write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4"),
        "must equal max_batch_size|must match max_batch_size",
    ),
    "no permission": (lambda path: (path / "saved_model.pb").chmod(0), "Permission denied"),
}


def test_a_damaged_version_is_skipped_and_named_and_the_old_one_stays(tmp_path, save, caplog):
    base = tmp_path / "m"
    save(tmp_path / "whole", 20.0)
    save(base / "1", 10.0)
    batching = protos.parse_text("max_batch_size { value: 4 }", protos.BatchingParameters)
    options = {"batching": batching, "per_model_batching": True, "poll_seconds": 0.05}
    with Server(_config(m=base), rest_port=0, grpc_port=None, **options) as server:
        client = connect(server.rest_address)

        def until(version, state):
            deadline = time.monotonic() + 30
            while client.status("m").get(version) != state:
                assert time.monotonic() < deadline, client.status("m")
                time.sleep(0.02)

        problems = {}
        for version, (name, (damage, reason)) in enumerate(DAMAGES.items(), 2):
            if name == "no permission" and os.geteuid() == 0:
                continue  # the administrator may read everything
            shutil.copytree(tmp_path / "whole", base / "copying")
            damage(base / "copying")
            (base / "copying").rename(base / str(version))
            until(version, "END")
            problems[version] = reason
            assert client.predict("m", {"x": [1.0]})["y"].tolist() == [11.0], name
        told = client.problems("m")
        assert told.keys() == problems.keys()
        for version, reason in problems.items():
            assert any(part in f"{told[version]} {caplog.text}" for part in reason.split("|")), (version, told[version])
            assert told[version] and f"Loading {{name: m version: {version}}} failed: " in caplog.text
        assert {version for version, state in client.status("m").items() if state == "AVAILABLE"} == {1}

        last = max(problems)
        shutil.rmtree(base / str(last))
        (tmp_path / "whole").rename(base / str(last))  # mended: the same number is tried again
        until(last, "AVAILABLE")
        assert client.predict("m", {"x": [1.0]})["y"].tolist() == [21.0]
        client.close()


KILLS = """
    import os, shutil, signal, sys
    from kzoo.serving import bundle as bundles

    source, folder = sys.argv[1:]
    bundles.bundle({"m": source}, folder)

    def files(path):
        return {name: os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(path) for name in names}

    whole = files(os.path.join(folder, "models", "m", "1"))

    def is_killed(step):
        '''Whether a copy that is killed at its n-th use of the bundle's files did not come to its end.'''
        child = os.fork()
        if child == 0:
            uses = 0

            def hook(event, arguments):
                nonlocal uses
                is_file = event.startswith(("open", "os.", "shutil")) and arguments
                if is_file and isinstance(arguments[0], (str, os.PathLike)) and folder in os.fspath(arguments[0]):
                    uses += 1
                    if uses == step:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            bundles.bundle({"m": source}, folder)
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    step, came = 1, 0
    while is_killed(step):
        bundles.read_models_config(folder)
        for version in bundles.versions(folder, "m"):
            path = os.path.join(folder, "models", "m", str(version))
            assert files(path) == whole, (step, version)
            if version > 1:  # killed after it was whole
                shutil.rmtree(path)
                came += 1
        step += 1
    versions = bundles.versions(folder, "m")
    left = [name for name in os.listdir(os.path.join(folder, "models", "m")) if name.startswith(".")]
    print(step - 1, came, versions, left)
"""


def test_a_copy_killed_at_any_moment_leaves_the_last_whole_version(tmp_path, classify, environment):
    folder = tmp_path / "bundle"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLS), str(classify.path), str(folder)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    kills, came, rest = ended.stdout.strip().split(maxsplit=2)
    assert int(kills) > 40 and 0 < int(came) < int(kills) and rest == "[1, 2] []"
    (folder / "models" / "m" / ".9.incoming-0000").mkdir()  # as a killed copy leaves it
    with Server(_config(m=folder / "models" / "m"), rest_port=0, grpc_port=None, poll_seconds=0) as server:
        client = connect(server.rest_address)
        assert client.status("m") == {2: "AVAILABLE"}
        assert len(client.predict("m", {"text": ["good"]})["label"]) == 1
        client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_connections_and_threads_do_not_grow_with_requests(server, ask):
    def held():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    for _ in range(40):  # as many threads as there will be
        ask(server, "POST", "/v1/models/words:predict", {"instances": ["a"]})
    before = held()
    for _ in range(100):
        ask(server, "POST", "/v1/models/words:predict", {"instances": [1]})
    deadline = time.monotonic() + 10
    while any(now > then + 2 for now, then in zip(held(), before, strict=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(now <= then + 2 for now, then in zip(held(), before, strict=True))
