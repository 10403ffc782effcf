"""A task of the shape that an export needs, small enough to be exported in every test: rates texts by their words.

Unlike kzoo's own it looks words up in a hash table, a resource that an export must carry along.
"""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from kzoo.tasks.task import Signature

WORDS = ["the", "film", "was", "good", "bad", "not"]
TEXT = {"text": tf.TensorSpec([None], tf.string)}


@dataclasses.dataclass(frozen=True)
class Figures:
    """What the model is built from."""

    width: int = 8


class Words(tf.Module):
    """Words by their number in a table."""

    def __init__(self):
        super().__init__()
        keys, values = tf.constant(WORDS), tf.range(1, len(WORDS) + 1)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0)


class SmallTask:
    """``label`` and ``scores`` of a text; the signature ``weighed`` adds a knob to the scores."""

    name = "classify"
    max_length = 16
    inputs = TEXT
    privacy = None

    def __init__(self, pretrained=None, *, width=8):
        self.width = width
        self.pretrained = pretrained or SimpleNamespace(
            family=SimpleNamespace(MODEL_TYPE="words"),
            config=Figures(width),
            source="/somewhere/words",
            dtype="float32",
        )
        self.tokenizer = Words()
        dtype = keras.DTypePolicy(self.pretrained.dtype)
        noise = keras.initializers.RandomNormal(stddev=0.5, seed=1)
        ids = keras.Input([None], dtype="int32", name="token_ids")
        x = keras.layers.Embedding(len(WORDS) + 1, width, noise, name="embedding", dtype=dtype)(ids)
        x = keras.ops.sum(keras.layers.Dropout(0.1, dtype=dtype)(x), axis=1)
        self.model = keras.Model({"token_ids": ids}, keras.layers.Dense(2, name="head", dtype="float32")(x))
        self.backbone = SimpleNamespace(dtype_policy=dtype)

    @property
    def tokenizers(self):
        return [self.tokenizer]

    def rebuild(self, dtype):
        copy = SmallTask(SimpleNamespace(**(vars(self.pretrained) | {"dtype": dtype})), width=self.width)
        for weight, old in zip(copy.model.weights, self.model.weights, strict=True):
            weight.assign(np.asarray(old).astype("float32"))
        return copy

    def options(self):
        return {"width": self.width}

    description = options

    def tokenize(self, inputs):
        ids = self.tokenizer.table.lookup(tf.strings.split(inputs["text"]))[:, : self.max_length]
        return {"token_ids": ids, "row": tf.range(ids.nrows())}

    def serve(self, inputs):
        scores = tf.nn.softmax(self.model({"token_ids": self.tokenize(inputs)["token_ids"].to_tensor()}))
        return {"label": tf.gather(["no", "yes"], tf.argmax(scores, -1)), "scores": scores}

    def weigh(self, text, weight):
        answers = self.serve({"text": text})
        return answers | {"scores": answers["scores"] * weight[:, None]}

    def signatures(self):
        weight = {"weight": tf.TensorSpec([None], tf.float32)}
        return {
            "serving_default": Signature(lambda **inputs: self.serve(inputs), TEXT),
            "weighed": Signature(self.weigh, TEXT | weight, {"weight": np.array([2.0], "float32")}),
        }

    def example_inputs(self):
        return {"text": ["the film was good"]}
