"""Two small tasks of the shape that kzoo.training expects, and examples for them. Letters are tokens."""

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from kzoo.data.examples import Examples

LETTERS = "abcdefghij"


class LetterTask:
    """Classifies words by how many of their letters are vowels, or (``predicts_letters``) predicts the next letter."""

    columns = {"text": "string"}
    max_length = 12

    def __init__(self, *, predicts_letters=False, dropout=0.0, width=8, seed=3):
        self.arguments = dict(predicts_letters=predicts_letters, dropout=dropout, width=width, seed=seed)
        self.predicts_letters = predicts_letters
        self.name = "generate" if predicts_letters else "classify"
        self.pretrained = SimpleNamespace(source="tiny")
        keras.utils.set_random_seed(seed)
        ids = keras.Input((None,), dtype="int32", name="token_ids")
        mask = keras.Input((None,), dtype="bool", name="padding_mask")
        x = keras.layers.Embedding(len(LETTERS) + 1, width, name="embedding")(ids)
        x = keras.layers.Dropout(dropout)(x)
        x = keras.layers.LayerNormalization(name="norm")(keras.layers.Dense(width, "relu", name="hidden")(x))
        if not predicts_letters:
            x = keras.layers.GlobalAveragePooling1D()(x, mask=mask)
        outputs = keras.layers.Dense(len(LETTERS) + 1 if predicts_letters else 2, name="head", dtype="float32")(x)
        self.model = keras.Model({"token_ids": ids, "padding_mask": mask}, outputs)

    def tokenize(self, inputs):
        letters = tf.strings.bytes_split(inputs["text"])
        ids = letters.with_flat_values(tf.cast(tf.io.decode_raw(letters.flat_values, tf.uint8)[:, 0], tf.int32) - 96)
        return {"token_ids": ids[:, : self.max_length], "row": tf.range(tf.shape(inputs["text"])[0])}

    def pack(self, tokens, length):
        ids = tokens["token_ids"]
        return {
            "token_ids": ids.to_tensor(0, shape=tf.stack([-1, length])),
            "padding_mask": tf.sequence_mask(ids.row_lengths(), length),
        }

    def targets(self, examples, tokens):
        if not self.predicts_letters:
            vowels = [sum(letter in "aei" for letter in text) * 2 > len(text) for text in examples["text"]]
            return tf.constant(np.array(vowels, "int32")), tf.ones([len(vowels)])
        ids = tokens["token_ids"]
        following = tf.concat([ids[:, 1:], tf.zeros_like(ids[:, :1])], axis=1)
        weights = tf.concat([tf.ones_like(ids[:, 1:], tf.float32), tf.zeros_like(ids[:, :1], tf.float32)], axis=1)
        return following, weights

    def loss(self):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def metrics(self):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def options(self):
        return self.arguments

    def rebuild(self):
        task = LetterTask(**self.arguments)
        task.model.set_weights(self.model.get_weights())
        return task

    def generate(self, prompts, *, max_new_tokens=3):
        return ["\n*" * max_new_tokens for _ in prompts]

    def save(self, directory):
        Path(directory).mkdir(parents=True)
        np.savez(Path(directory) / "weights.npz", *self.model.get_weights())
        (Path(directory) / "options.json").write_text(json.dumps(self.arguments))


def words(count=150, *, seed=0) -> Examples:
    """Words of 1 to 12 letters."""
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list(LETTERS), random.integers(1, 13))) for _ in range(count)]
    return Examples({"text": texts})
