"""A classifier that is watched, on one device or by the workers of TF_CONFIG: ``watched_workers FOLDER NAME``."""

import sys
from pathlib import Path

import keras

import kzoo
from kzoo.data.examples import Examples
from kzoo.training.strategy import choose
from tests import tiny

LOGGING = {
    "progress": "none",
    "every": 2,
    "histograms": True,
    "projector": 10,
    "profile": [2, 2],
    "graph": True,
    "peak_teraflops": 0.1,
}


def run(folder, **arguments):
    """Trains and validates; returns the run."""
    texts = [f"{'a good film' if number % 3 else 'bad'} {'x' * (number % 5)}" for number in range(22)]
    examples = Examples({"text": texts, "label": ["good" if number % 3 else "bad" for number in range(22)]})
    keras.utils.set_random_seed(0)
    task = kzoo.Classify(tiny.bert(num_layers=1, attention_dropout=0.0), labels=["bad", "good"], dropout=0.0)
    settings = dict(epochs=2, batch_size=8, learning_rate=1e-3, validate_every=2, say=lambda text: None)
    return kzoo.fit(task, examples, examples, run_folder=folder, logging=LOGGING, **settings | arguments)


if __name__ == "__main__":
    run(Path(sys.argv[1]) / sys.argv[2], strategy=choose("auto"))
