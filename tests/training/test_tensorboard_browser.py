"""TensorBoard itself, on the folder of real tiny runs, in a headless Chromium."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest

import kzoo
from kzoo.data.examples import Examples
from kzoo.training.watching.curves import Curves
from tests import tiny
from tests.browser import Browser
from tests.training.workers import free_ports

SECONDS = 120  # for a page to show; it takes few, but two cores may be busy


@contextlib.contextmanager
def tensorboard(folder):
    """Its address, while it serves a folder."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}", "--host=127.0.0.1", f"--port={port}"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    address = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}data/runs", timeout=10) as answer:
                if b"validation" in answer.read():
                    break
            assert process.poll() is None and time.monotonic() < end, "TensorBoard does not serve the runs."
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a classifier that differ in their rate, and one of a masked language model."""
    folder = tmp_path_factory.mktemp("runs")
    texts = [f"{'a good film' if number % 2 else 'bad'} {number}" for number in range(24)]
    examples = Examples({"text": texts, "label": ["good" if number % 2 else "bad" for number in range(24)]})
    shared = dict(batch_size=8, epochs=1, say=lambda text: None)
    logging = {"progress": "none", "every": 1, "projector": 24, "guesses": {"texts": 1}, "histograms": True}
    for name, rate in (("slow", 1e-4), ("fast", 1e-2)):
        task = kzoo.Classify(tiny.bert(num_layers=1), labels=["bad", "good"])
        given = {**shared, "logging": logging, "learning_rate": rate}
        kzoo.fit(task, examples, examples, run_folder=folder / name, **given)
    words = Examples({"text": [text * 3 for text in texts]})
    task = kzoo.FillMask(tiny.bert(num_layers=1))
    kzoo.fit(task, words, words, run_folder=folder / "masked", logging=logging | {"projector": None}, **shared)
    curves = Curves(folder / "slow" / "tensorboard", None)
    curves.write_texts("samples", ["    Once upon⟶ a midnight dreary"], 3)
    curves.close()
    return folder


@pytest.mark.browser
def test_a_person_sees_what_was_written(runs, chromium, tmp_path):
    with tensorboard(runs) as address, Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{address}#timeseries")
        browser.wait_for("learning_rate", "gradient_norm", "input_wait", seconds=SECONDS)
        browser.open("about:blank")
        browser.open(f"{address}#scalars&tagFilter=teraflops%7Cmemory%7Caccuracy")
        browser.wait_for("teraflops_with_padding", "memory_gigabytes", "accuracy", seconds=SECONDS)

        browser.open("about:blank")
        browser.open(f"{address}#text")
        browser.wait_for("a midnight dreary", "the model reads", "⟦1⟧", seconds=SECONDS)

        browser.open("about:blank")
        browser.open(f"{address}#images")
        browser.wait_for("confusion_matrix", "fast/tensorboard/validation", seconds=SECONDS)

        browser.open("about:blank")
        browser.open(f"{address}#pr_curves")
        browser.wait_for("precision_recall/good", "slow/tensorboard/validation is at step 3", seconds=SECONDS)

        browser.open("about:blank")
        browser.open(f"{address}#hparams")
        text = browser.wait_for("training.learning_rate", "slow", "fast", seconds=SECONDS)
        assert "0.010000" in text and "0.00010000" in text, text

        browser.open("about:blank")
        browser.open(f"{address}#projector")
        text = browser.wait_for("Points: 24", "Dimension: 16", "step-000003", seconds=SECONDS)
        browser.fill("vz-projector-inspector-panel vz-projector-input paper-input", "film 1")
        browser.wait_for("a good film 1", "a good film 13", "6 matches", seconds=SECONDS)
        browser.set("vz-projector-data-panel", "selectedColorOptionName", "label")
        text = browser.wait_for("Color by", seconds=SECONDS)
        assert re.search(r"good 12", text) and re.search(r"bad 12", text), text
