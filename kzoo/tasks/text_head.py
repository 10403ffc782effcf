"""A linear head over one vector of each text, or of each pair of texts: what a classifier and a regressor share."""

import keras
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.layers.linear import Linear
from kzoo.tasks.embed import Pooling
from kzoo.tasks.framing import TRUNCATIONS, frame_pair, frame_text
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
        outputs = backbone(inputs)
        form = self.pretrained.head_for(self.name)
        if self.pretrained.is_decoder:
            x = LastToken(name="last_token")(outputs["sequence_output"], inputs["padding_mask"])
        elif form and form.pooled:
            x = outputs["pooled_output"]
        elif self.pretrained.published.get("classifier_pooling") == "mean":
            x = Pooling(pooling="mean", normalize=False, name="pooling", dtype="float32")(
                outputs["sequence_output"], inputs["padding_mask"]
            )
        else:
            x = outputs["sequence_output"][:, 0]
        self.hidden = hidden_layer(self.pretrained, self.name)
        if self.hidden is not None:
            x = self.hidden(keras.layers.Dropout(self.dropout, name="hidden_dropout")(x))
        x = keras.layers.Dropout(self.dropout, name="head_dropout")(x)
        use_bias = not self.pretrained.is_decoder  # as transformers stores the two
        self.head = Linear(self.units, use_bias=use_bias, name="head", dtype="float32")
        return keras.Model(inputs, self.head(x), name=self.name)

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
