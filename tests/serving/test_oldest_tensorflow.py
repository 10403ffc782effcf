"""Exports of every task, loaded and asked by TensorFlow 2.19 with its oldest Text, without kzoo and Keras.

2.19 is the oldest server that exports promise to run on; its operations are not its wheel's alone to prove, so here it
answers. The environment is made once, in the cache folder, and takes some minutes and 2 GB.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kzoo.serving import verification
from kzoo.serving.export import export
from tests.serving.every_task import tasks

pytestmark = [pytest.mark.slow, pytest.mark.network]

VERSION = "2.19"
PACKAGES = (f"tensorflow=={VERSION}.*", f"tensorflow-text=={VERSION}.0")

ASK = """
import base64, glob, json, os, sys
for name in ("kzoo", "keras", "keras_hub", "tf_keras"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import tensorflow as tf

site = os.path.dirname(os.path.dirname(tf.__file__))
for library in sorted(glob.glob(os.path.join(site, "tensorflow_text", "**", "*.so"), recursive=True)):
    tf.load_op_library(library)  # what the server links; the package itself imports keras

def tensor(said):
    values = [base64.b64decode(one) for one in said["values"]] if said["dtype"] == "object" else said["values"]
    return np.array(values, dtype=said["dtype"]).reshape(said["shape"])

def said(array):
    flat = array.reshape(-1).tolist()
    values = [base64.b64encode(one).decode() for one in flat] if array.dtype == object else flat
    return {"dtype": array.dtype.name, "shape": array.shape, "values": values}

answers = {"version": tf.__version__, "models": {}}
for path, questions in json.load(sys.stdin).items():
    # as the server does: a session, the graph, feeds and fetches by the names of the signature
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        of_model = answers["models"][path] = {}
        for signature, inputs in questions.items():
            entry = graph.signature_def[signature]
            feeds = {entry.inputs[name].name: tensor(value) for name, value in inputs.items()}
            fetches = {name: output.name for name, output in entry.outputs.items()}
            of_model[signature] = {name: said(array) for name, array in session.run(fetches, feeds).items()}
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def old_python():
    """The Python of an environment that has TensorFlow 2.19 and Text beside it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kzoo-tests"
    folder = cache / f"tensorflow-{VERSION}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if complete.is_file() and complete.read_text() == str(PACKAGES):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip"]
    reached = subprocess.run([*pip, "download", "-q", "--no-deps", "-d", str(folder / "reached"), "wheel"], check=False)
    if reached.returncode:
        pytest.skip("pip reaches no package index from here, so TensorFlow 2.19 cannot be installed")
    subprocess.run([*pip, "install", "-q", "--no-cache-dir", *PACKAGES], check=True)
    complete.write_text(str(PACKAGES))
    return python


def said(tensor):
    array = tensor.numpy()
    flat = array.reshape(-1).tolist()
    values = [base64.b64encode(one).decode() for one in flat] if array.dtype == object else flat
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": values}


def test_every_task_is_served_by_the_oldest_tensorflow_as_by_this_one(old_python, tmp_path):
    questions, expected = {}, {}
    for name, task in tasks().items():
        path = str(export(task, tmp_path / name, warm_up=None, token_signatures=True))
        loaded = tf.saved_model.load(path)
        for key, signature in (task.signatures() | task.token_signatures()).items():
            tensors = signature.tensors(verification._varied(verification.example(task, signature), signature.defaults))
            questions.setdefault(path, {})[key] = {one: said(value) for one, value in tensors.items()}
            expected.setdefault(path, {})[key] = loaded.signatures[key](**tensors)
    asked = subprocess.run(
        [str(old_python), "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, cwd="/"
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    reply = json.loads(asked.stdout)
    assert reply["version"].startswith(f"{VERSION}.")
    compared = 0
    for path, signatures in expected.items():
        for key, outputs in signatures.items():
            answers = reply["models"][path][key]
            assert set(answers) == set(outputs)
            for name, value in outputs.items():
                wanted, where = said(value), f"{Path(path).name} {key} {name}"
                assert (answers[name]["dtype"], answers[name]["shape"]) == (wanted["dtype"], wanted["shape"]), where
                if value.dtype.is_floating:
                    np.testing.assert_allclose(answers[name]["values"], wanted["values"], 1e-4, 1e-5, err_msg=where)
                else:
                    assert answers[name]["values"] == wanted["values"], where
                compared += 1
    assert compared > 60
