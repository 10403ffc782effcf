"""Trains on one device and on two logical CPU devices, in a process of its own; prints what came of both as JSON."""

import json
import sys

import numpy as np
import tensorflow as tf

from kzoo.training.run import fit
from kzoo.training.strategy import choose
from tests.training.letter_tasks import LetterTask, words

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
LONG_AND_SHORT = words(42)  # the last batch has 2 of 8 rows: one replica gets 2, the other none


def run(strategy, **arguments):
    said = []
    kind = {key: arguments.pop(key) for key in ("predicts_letters", "dropout") if key in arguments}
    task = LetterTask(**kind)
    settings = dict(epochs=2, batch_size=8, learning_rate=0.01, clip_norm=0.5, logging={"progress": "none"})
    result = fit(task, LONG_AND_SHORT, words(13, seed=1), strategy=strategy, say=said.append, **settings | arguments)
    return {
        "said": said,
        "history": [{name: value for name, value in one.items() if name != "seconds"} for one in result.history],
        "metrics": {name: value for name, value in result.metrics.items() if name != "seconds"},
        "weights": [np.asarray(weight).ravel().tolist() for weight in task.model.weights if weight.dtype == "float32"],
        "mirrored": any(isinstance(weight.value, tf.distribute.DistributedValues) for weight in task.model.weights),
    }


def error(**arguments):
    try:
        run("mirrored", **arguments)
    except ValueError as mistake:
        return str(mistake)


def usual():
    letters = {"predicts_letters": True}
    with choose("mirrored").scope():
        within = [run(tf.distribute.get_strategy(), dropout=0.5, epochs=1, seed=seed) for seed in (1, 1)]
    return {
        "error": error(batch_size=7),
        "classify": [run("one_device"), run("mirrored")],
        "predict": [run("one_device", **letters), run("mirrored", **letters)],
        "within": within,
    }


def more():
    return {
        "jit": [run("one_device"), run("mirrored", jit=True)],
        "mixed_bfloat16": run("mirrored", precision="mixed_bfloat16"),
        "mixed_float16": run("mirrored", precision="mixed_float16", jit=True),
    }


if __name__ == "__main__":
    print("RESULTS" + json.dumps({"usual": usual, "more": more}[sys.argv[1]]()))
