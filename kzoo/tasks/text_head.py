"""A linear head over one vector of each text, or of each pair of texts: what a classifier and a regressor share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.layers.linear import Linear
from kzoo.tasks.explain import INTEGRATED, METHODS, WITH_KNOBS, Explainer, as_dict
from kzoo.tasks.framing import TRUNCATIONS, frame_pair, frame_text
from kzoo.tasks.pooling import Pooling
from kzoo.tasks.published_head import hidden_layer, units_of_head
from kzoo.tasks.task import Task

# B texts or pairs, T length, D width, U units

TEXT = tf.TensorSpec([None], tf.string, name="text")
TEXT_PAIR = tf.TensorSpec([None], tf.string, name="text_pair")


@keras.saving.register_keras_serializable(package="kzoo")
class LastToken(keras.layers.Layer):
    """The output of the last real token, which in a decoder has read all the others."""

    def call(self, x, padding_mask):
        """Maps ``[B, T, D]`` and a mask ``[B, T]``, true for real tokens, to ``[B, D]``."""
        last = keras.ops.maximum(keras.ops.sum(keras.ops.cast(padding_mask, "int32"), axis=1) - 1, 0)  # [B]
        return keras.ops.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


class TextHead(Task):
    """A task whose model maps a text, or a pair of texts in one row, to a few numbers.

    Subclasses say what the numbers mean. ``transformers`` stores such heads in its ``...ForSequenceClassification``.

    Args:
        pretrained: what ``kzoo.load`` returned.
        units: numbers of a text, U.
        pair: whether each example is two texts, the inputs ``text`` and ``text_pair``, which the model reads together
            in one row (sentence pairs: entailment, paraphrase, likeness, a question and a passage).
        truncation: which text of a pair is cut where both are too long together; see ``frame_pair``.
        max_length: most tokens of a row, special ones included; what is longer is cut.
        dropout: rate before the head, in training.

    Raises:
        UserError: an unknown truncation, or a length that the model cannot read.
    """

    def __init__(self, pretrained, *, units: int, pair: bool, truncation: str, max_length, dropout: float):
        if truncation not in TRUNCATIONS:
            raise UserError(f"truncation must be one of {', '.join(TRUNCATIONS)}. Received {truncation!r}.")
        self.units = units
        self.pair = pair
        self.truncation = truncation
        self.dropout = dropout
        self._explain: dict[tuple, Callable] = {}
        if pair:
            self.inputs = {"text": TEXT, "text_pair": TEXT_PAIR}
            self.columns = {"text": "string", "text_pair": "string"} | {
                name: kind for name, kind in self.columns.items() if name != "text"
            }
        form = pretrained.head_for(self.name)
        super().__init__(pretrained.with_pooler() if form and form.pooled else pretrained, max_length=max_length)
        if units_of_head(pretrained, "classify") == units:
            self.import_head()

    def build(self, backbone):
        """A model from ``token_ids``, ``padding_mask`` and, for pairs, ``segment_ids`` to float32 ``[B, U]``."""
        names = ["token_ids", "padding_mask", *(["segment_ids"] if self._has_segments(backbone) else [])]
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        form = self.pretrained.head_for(self.name)
        self._pooling: keras.layers.Layer | None = None
        if self.pretrained.is_decoder:
            self._pooling = LastToken(name="last_token")
        elif not (form and form.pooled) and self.pretrained.published.get("classifier_pooling") == "mean":
            self._pooling = Pooling(pooling="mean", normalize=False, name="pooling", dtype="float32")
        self.hidden = hidden_layer(self.pretrained, self.name)
        if self.hidden is not None:
            self._hidden_dropout = keras.layers.Dropout(self.dropout, name="hidden_dropout")
        self._head_dropout = keras.layers.Dropout(self.dropout, name="head_dropout")
        use_bias = not self.pretrained.is_decoder  # as transformers stores the two
        self.head = Linear(self.units, use_bias=use_bias, name="head", dtype="float32")
        return keras.Model(inputs, self.read(backbone(inputs), inputs["padding_mask"]), name=self.name)

    def read(self, outputs: Mapping[str, Any], padding_mask):
        """The numbers of each text, float32 ``[B, U]``, from the backbone's outputs and the mask ``[B, T]``."""
        form = self.pretrained.head_for(self.name)
        if self._pooling is not None:
            x = self._pooling(outputs["sequence_output"], padding_mask)
        elif form and form.pooled:
            x = outputs["pooled_output"]
        else:
            x = outputs["sequence_output"][:, 0]
        if self.hidden is not None:
            x = self.hidden(self._hidden_dropout(x))
        return self.head(self._head_dropout(x))

    def logits_of_vectors(self, features: Mapping[str, Any], vectors):
        """As the model, with vectors ``[B, T, E]`` in the place of the token embedding's, without dropout.

        Args:
            features: the model's inputs; their ids are not looked at.
            vectors: of the tokens.
        """
        return self.read(
            self.backbone({**features, "token_vectors": vectors}, training=False), features["padding_mask"]
        )

    explained_labels: Sequence[str] = ()
    """Labels of which one is explained; none where the one number of a text is."""

    def explained_score(self, logits, target):
        """What of the numbers ``[B, U]`` is explained, float32 ``[B]``; ``target`` int32 ``[B]`` says which label."""
        return logits[:, 0]

    def likeliest(self, logits):
        """The label that is explained unless another is asked for, int32 ``[B]``."""
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def explain_signatures(self, **options):
        return Explainer(self, **options).signatures()

    def explain(
        self,
        texts,
        *,
        target: str = "",
        method: str = INTEGRATED,
        steps: int = 32,
        baseline: str = "zero",
        attention: bool = False,
        batch_size: int = 32,
    ) -> list[dict]:
        """How much each token has to do with the answer: see ``kzoo.tasks.explain.Explainer``.

        Args:
            texts: as for ``predict``.
            target: of a classifier, the label to explain; by default the likeliest of each text.
            method: "integrated_gradients", or "gradient_times_input", the gradient at the text alone: quick and rough.
            steps: points of the line at which the gradient is taken.
            baseline: what says nothing: "zero", "pad" or "mask".
            attention: whether the maps of the attention are wanted, too.
            batch_size: texts at once; the result does not depend on it.

        Returns:
            A dict a text: ``label`` (of a classifier), ``score``, ``baseline_score``, ``gap``, and ``tokens``, each a
            dict of ``token``, ``attribution``, ``start``, ``end`` and, of pairs, ``text_index``. With attention
            ``attention`` ``[L, P, P]``, and ``place`` of each token in it.

        Raises:
            UserError: a label or a method that there is not, or what ``Explainer`` refuses.
        """
        if target and target not in self.explained_labels:
            known = ", ".join(map(repr, self.explained_labels)) or "none: it gives a number"
            raise UserError(f"target must be one of the model's labels, {known}. Received {target!r}.")
        if method not in METHODS:
            raise UserError(f"method must be one of {', '.join(METHODS)}. Received {method!r}.")
        key = (steps, baseline, attention)
        if key not in self._explain:
            signatures = self.explain_signatures(steps=steps, baseline=baseline, attention=attention)
            self._explain[key] = signatures[WITH_KNOBS].traced()
        columns = self._columns(texts)
        number = len(next(iter(columns.values())))
        knobs = {"target": target, "method": method} if self.explained_labels else {"method": method}
        columns |= {name: np.array([value.encode()] * number, dtype=object) for name, value in knobs.items()}
        return [as_dict(answer) for answer in self._in_batches(self._explain[key], columns, batch_size)]

    def forget_traces(self):
        super().forget_traces()
        self._explain = {}

    def _has_segments(self, backbone) -> bool:
        """Whether the model is told which of the two texts a token is of."""
        segments = getattr(backbone, "segment_embedding", None)
        can_tell = segments is not None and segments.vocabulary_size > 1
        return self.pair and self.tokenizer.template.segments and can_tell

    def tokenize(self, inputs):
        if not self.pair:
            return frame_text(self.tokenizer, inputs["text"], self.max_length)
        tokens = frame_pair(self.tokenizer, inputs["text"], inputs["text_pair"], self.max_length, self.truncation)
        if not self._has_segments(self.backbone):
            tokens.pop("segment_ids", None)
        return tokens

    def options(self):
        return super().options() | {"pair": self.pair, "truncation": self.truncation, "dropout": self.dropout}

    def published(self):
        keys: dict = {}
        if self.pretrained.is_decoder and self.pretrained.published.get("pad_token_id") is None:
            # transformers finds a text's last token by what does not follow it
            special = self.tokenizer.special_ids
            keys["pad_token_id"] = special.get("pad", special.get("eos", 0))
        return keys


def is_regressor(pretrained) -> bool:
    """Whether the checkpoint's own head is one of regression, by the rule of ``transformers``."""
    kind = pretrained.published.get("problem_type")
    return kind == "regression" or (kind is None and units_of_head(pretrained, "classify") == 1)
