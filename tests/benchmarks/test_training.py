import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_whole_batches_in_the_proportions_of_the_corpus():
    spec = importlib.util.spec_from_file_location("kzoo_benchmark_data", BENCHMARKS / "training_data.py")
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    assert data.shares({16: 60, 32: 25, 128: 15}, 4) == {16: 2, 32: 1, 128: 1}
    assert sum(data.shares({16: 1, 32: 1, 64: 1}, 10).values()) == 10


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("case", ["bert", "gpt2", "bert-equal", "gpt2-equal"])
def test_the_comparison_at_tiny_sizes(case):
    command = [sys.executable, str(BENCHMARKS / "training.py"), "--tiny", "--steps", "2", "--rounds", "1"]
    done = subprocess.run([*command, "--only", case], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines() if line.startswith("| ")]
    tokens = {row[1]: int(row[7]) for row in rows[2:]}
    assert tokens["kzoo"] > 0 and tokens["KerasHub"] == tokens.get("PyTorch", tokens["KerasHub"])
    assert (
        abs(tokens["kzoo"] - tokens["KerasHub"]) <= 0.1 * tokens["KerasHub"]
    )  # packed blocks end with whole documents
