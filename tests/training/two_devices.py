"""Trains on one device and on two logical CPU devices, in a process of its own; prints what came of both as JSON."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from kzoo import Answer, Classify, Embed, Generate, Regress, Tag
from kzoo.data.examples import Examples
from kzoo.training.run import fit
from kzoo.training.strategy import choose
from tests import tiny
from tests.training.letter_tasks import LetterTask, words

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
PARTS = {"predicts_letters": True, "ema": 0.5, "label_smoothing": 0.1}
LION = {"name": "lion", "beta_1": 0.8}
LONG_AND_SHORT = words(42)  # the last batch has 2 of 8 rows: one replica gets 2, the other none


def run(strategy, **arguments):
    said = []
    kind = {key: arguments.pop(key) for key in ("predicts_letters", "dropout") if key in arguments}
    task = LetterTask(**kind)
    settings = dict(epochs=2, batch_size=8, learning_rate=0.01, clip_norm=0.5, logging={"progress": "none"})
    result = fit(task, LONG_AND_SHORT, words(13, seed=1), strategy=strategy, say=said.append, **settings | arguments)
    return {
        "said": said,
        "history": [untimed(one) for one in result.history],
        "metrics": untimed(result.metrics),
        "weights": [np.asarray(weight).ravel().tolist() for weight in task.model.weights if weight.dtype == "float32"],
        "mirrored": any(isinstance(weight.value, tf.distribute.DistributedValues) for weight in task.model.weights),
    }


def untimed(values):
    return {name: value for name, value in values.items() if name not in ("seconds", "input_wait")}


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
        "parts": [run("one_device", **PARTS), run("mirrored", accumulate=2, **PARTS)],
        "lion": [run("one_device", optimizer=LION), run("mirrored", optimizer=LION)],
    }


def real():
    """A real language model: name of each weight to the furthest that two devices led it from one."""
    weights = []
    for strategy in ("one_device", "mirrored"):
        task = Generate(tiny.gpt2(attention_dropout=0.0), max_length=16, max_new_tokens=4)
        texts = Examples({"text": ["it was a bad film", "the film was not good at all"] * 9})
        settings = dict(batch_size=8, learning_rate=1e-3, logging={"progress": "none"})
        fit(task, texts, strategy=strategy, say=lambda text: None, **settings)
        weights.append({weight.path: np.asarray(weight) for weight in task.model.weights})
    return {path: float(np.abs(one - weights[1][path]).max()) for path, one in weights[0].items()}


TEXTS = ["it was a bad film", "the film was not good at all", "good"] * 5
PAIRS = {"text": TEXTS, "text_pair": TEXTS[1:] + TEXTS[:1]}
WORDS = [f"{one} {other}" for one in ("bad", "good", "not", "all", "film") for other in ("film", "zoo", "it was")]
HEADS = {
    "several_labels_of_pairs": (
        lambda bert: Classify(
            bert, labels=["bad", "good", "long"], multi_label=True, class_weights={"bad": 3.0}, pair=True, dropout=0.0
        ),
        PAIRS | {"label": [["bad"], ["good", "long"], []] * 5},
    ),
    "weighted_classes": (
        lambda bert: Classify(bert, labels=["bad", "good"], class_weights={"bad": 3.0}, dropout=0.0),
        {"text": TEXTS, "label": ["bad", "good", "good"] * 5},
    ),
    "numbers": (lambda bert: Regress(bert, dropout=0.0), {"text": TEXTS, "label": [0.5, 4.0, 2.5] * 5}),
    "triplets": (  # negatives of the other device, too
        lambda bert: Embed(bert, max_length=12),
        {"text": WORDS, "text_pair": [words[::-1] for words in WORDS], "negative": ["bad", "a film", "it was it"] * 5},
    ),
    "order_of_pairs": (lambda bert: Embed(bert), PAIRS | {"label": [0.5, 4.0, 2.5, 1.0, 3.0] * 3}),
    "answers": (  # windows, of some questions more than of others
        lambda bert: Answer(bert, max_length=16, stride=6),
        {
            "question": ["what was bad", "what", "was it good"],
            "context": ["it was a bad film. the film was not good at all", "good film", "bad " * 12 + "film"],
            "answers": [[{"text": "film", "answer_start": 13}], [], [{"text": "film", "answer_start": 48}]],
        },
    ),
    "entities": (  # windows, and words of which some have several tokens
        lambda bert: Tag(bert, labels=["film"], max_length=8, stride=3, class_weights={"O": 0.5}, dropout=0.0),
        {
            "text": [*TEXTS[:5], "bad " * 11 + "zqz"],
            "entities": [[[9, 17, "film"]], [[4, 8, "film"]], [], [[9, 17, "film"]], [], [[40, 47, "film"]]],
        },
    ),
}


def heads():
    """Every head of a text: losses and weights of one device and of two; 15 rows in batches of 4."""
    results = {}
    for name, (make, columns) in HEADS.items():
        results[name] = [headed(make, Examples(columns), strategy) for strategy in ("one_device", "mirrored")]
    return results


def headed(make, examples, strategy):
    keras.utils.set_random_seed(0)  # of the head
    task = make(tiny.bert(num_layers=1, attention_dropout=0.0, dropout=0.0))
    # not Adam: the gradient of a key's bias is nothing but rounding, which Adam would make as large as any other
    sgd = {"name": "sgd", "momentum": 0.9}
    settings = dict(epochs=2, batch_size=4, learning_rate=0.05, optimizer=sgd, logging={"progress": "none"})
    validation = (
        examples if {"answers", "entities", "negative"} & set(examples) else None
    )  # whose figures are more than the metrics of batches
    result = fit(task, examples, validation, strategy=strategy, say=lambda text: None, **settings)
    return {
        "history": [untimed(one) for one in result.history],
        "metrics": untimed(result.metrics),
        "weights": [np.asarray(weight).ravel().tolist() for weight in task.model.weights if weight.dtype == "float32"],
    }


def more():
    return {
        "real": real(),
        "jit": [run("one_device"), run("mirrored", jit=True)],
        "mixed_bfloat16": run("mirrored", precision="mixed_bfloat16"),
        "mixed_float16": run("mirrored", precision="mixed_float16", jit=True),
    }


if __name__ == "__main__":
    print("RESULTS" + json.dumps({"usual": usual, "heads": heads, "more": more}[sys.argv[1]]()))
