"""Pretraining on one device and on two logical ones, in a process of its own; prints what came as JSON.

``pretraining_devices TASK``: ``fill_mask``, ``pretrain``, ``generate`` or ``answers`` (``generate`` from prompts with
answers), with unequal numbers of targets per replica.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import kzoo  # noqa: E402
from tests import tiny  # noqa: E402
from tests.training.pretraining_run import documents  # noqa: E402


def make(name):
    keras.utils.set_random_seed(0)  # of the heads
    if name == "generate":
        return kzoo.Generate(tiny.gpt2(num_layers=1, attention_dropout=0.0), max_length=32)
    if name == "answers":
        made = tiny.gpt2(num_layers=1, attention_dropout=0.0)
        return kzoo.Generate(made, max_length=32, max_new_tokens=12, prompt_template="{prompt}: ")
    kind = {"fill_mask": kzoo.FillMask, "pretrain": kzoo.Pretrain}[name]
    return kind(tiny.bert(num_layers=1, attention_dropout=0.0), max_length=32)


def examples(name):
    """To learn from, and to measure on."""
    texts = [text[: 9 * number + 20] for number, text in enumerate(documents(11))]
    if name != "answers":
        return {"text": texts}, {"text": documents(5)}
    return tuple(
        {"prompt": [text[:8] for text in some], "answer": [text[8 : 12 + number] for number, text in enumerate(some)]}
        for some in (texts, documents(5))
    )


def trained(name, strategy, **settings):
    task = make(name)
    run = kzoo.fit(
        task,
        *examples(name),
        strategy=strategy,
        epochs=2,
        batch_size=4,
        # not Adam: the gradient of a key's bias is nothing but rounding, which Adam would make as large as any other
        optimizer={"name": "sgd", "momentum": 0.9},
        learning_rate=0.05,
        say=lambda text: None,
        logging={"progress": "none"},
        **settings,
    )
    losses = [[entry["loss"], entry["val_loss"], entry["accuracy"]] for entry in run.history]
    return {
        "devices": run.metrics["devices"],
        "tokens": run.metrics["tokens"],
        "losses": losses,
        "weights": [np.asarray(weight).ravel().tolist() for weight in task.model.weights if weight.dtype == "float32"],
    }


if __name__ == "__main__":
    name = sys.argv[1]
    runs = [trained(name, "one_device"), trained(name, "mirrored"), trained(name, "one_device", accumulate=2)]
    print("RESULTS" + json.dumps(runs))
