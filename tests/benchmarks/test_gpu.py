import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("kzoo_benchmark_gpu", BENCHMARKS / "gpu.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def test_without_a_gpu_it_says_so_and_ends_well(tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    driver.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "/bin/false"}
    done = subprocess.run(["bash", str(BENCHMARKS / "gpu.sh")], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No NVIDIA GPU is seen here (nvidia-smi lists none): nothing was measured.\n"


@pytest.mark.parametrize("model", ["gpt2", "bert-large"])
def test_training_at_tiny_sizes(gpu, policy, model):
    row = gpu.train_kzoo(model, gpu.TINY, rows=2, steps=2)
    assert row["tokens"] == 32 and row["devices"] == 1 and row["operations"] > 0
    assert 0 < row["loss"] < 10


def test_decoding_at_tiny_sizes(gpu, policy):
    assert gpu.decode_kzoo(gpu.TINY, rows=2, new=3)["tokens"] == 6


def test_utilisation_counts_the_same_operations_for_every_peer(gpu):
    known = {}
    mine = {"what": "train", "model": "gpt2", "seconds": 0.5, "tokens": 100, "operations": 2e14, "devices": 2}
    row = gpu.shown(mine | {"peak": 400.0}, known)
    assert row["rate"] == 200 and row["teraflops"] == 400 and row["utilisation"] == 0.5
    theirs = {"what": "train", "model": "gpt2", "seconds": 1.0, "tokens": 100, "devices": 1}
    assert gpu.shown(theirs, known)["utilisation"] == 0.5
    assert gpu.shown({"what": "train", "model": "gpt2", "note": "stopped after 150 s"}, known)["rate"] is None


def test_a_job_that_fails_is_a_row_that_says_why(gpu):
    (row,) = gpu.in_process("train/gpt2/no such", 2, True, 60.0)
    assert "invalid choice" in row["note"]


@pytest.mark.slow
def test_the_matrix_at_tiny_sizes(gpu):
    jobs = [job for job in gpu.JOBS if "PyTorch" not in job]
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--only", *jobs]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| train", "| decode"))]
    assert len(rows) >= len(jobs)
    for row in rows:
        assert float(row.split("|")[3]) > 0, json.dumps(rows, indent=1)
