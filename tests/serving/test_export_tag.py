"""A tagger's export finds what the task finds, in windows too, in a process without kzoo and Keras."""

import json
import subprocess
import sys

import numpy as np

import kzoo
from kzoo.serving.export import export
from tests import tiny
from tests.serving.test_export import ASK

TEXTS = [
    "the good film was bad, not at all good!",
    "",
    "caf\u00e9 \U0001f469\u200d\U0001f467 film \u5317\u4eac",
    "good bad " * 40,
]


def test_it_tags_in_a_process_without_kzoo_and_keras(tmp_path):
    task = kzoo.Tag(tiny.bert(num_layers=1), labels=["film", "mood"])
    task.head.kernel.assign(np.random.default_rng(0).normal(size=task.head.kernel.shape))
    path = export(task, tmp_path / "tagger", warm_up=None)
    questions = {str(path): {"entities": ("serving_default", {"text": TEXTS}), "words": ("tokens", {"text": TEXTS})}}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, cwd="/"
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    answers = json.loads(asked.stdout)
    for name, serve in (("entities", task.serve), ("words", task.serve_words)):
        expected = {key: value.numpy().reshape(-1) for key, value in serve({"text": TEXTS}).items()}
        assert set(answers[name]) == set(expected)
        for key, values in expected.items():
            if values.dtype == object:
                assert answers[name][key] == [value.decode() for value in values]
            else:
                np.testing.assert_allclose(answers[name][key], values, atol=1e-5)
    assert sum(answers["entities"]["count"]) > 5
