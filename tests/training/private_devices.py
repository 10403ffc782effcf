"""Trains with privacy on one device and on two logical ones, in a process of its own; prints what came as JSON."""

import json

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import kzoo  # noqa: E402
from kzoo.data.examples import Examples  # noqa: E402
from tests import tiny  # noqa: E402

TEXTS = ["a good film", "a bad film", "it was not at all bad", "good", "the film was it"]


def trained(strategy, accumulate):
    made = tiny.pretrained("bert", num_layers=1, attention_dropout=0.0)
    task = kzoo.Classify(made, labels=["bad", "good"], dropout=0.0)
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, 2)))
    examples = Examples({"text": TEXTS * 4, "label": ["good", "bad", "bad", "good", "bad"] * 4})
    run = kzoo.fit(
        task,
        examples,
        steps=4,
        batch_size=5,
        learning_rate=1e-2,
        optimizer={"name": "sgd"},
        privacy={"noise_multiplier": 1.0, "secret": False},
        strategy=strategy,
        accumulate=accumulate,
        logging={"progress": "none"},
        say=lambda line: None,
    )
    weights = [np.asarray(weight).tolist() for weight in task.model.trainable_weights]
    return {"weights": weights, "loss": run.history[-1]["loss"], "devices": run.metrics["devices"]}


if __name__ == "__main__":
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print("RESULTS" + json.dumps([trained("one_device", 1), trained(two, 2)]))
