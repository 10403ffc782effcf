"""Losses and metrics of models that guess masked tokens, and of BERT's pretraining."""

from collections.abc import Mapping

import keras
from keras import ops

from kzoo.tasks.counting import CountedAccuracy

# B rows, M masked places, V vocabulary


@keras.saving.register_keras_serializable(package="kzoo")
class MaskedTokenLoss(keras.losses.Loss):
    """Cross entropy at the masked places, and of the next sentence where the targets have it.

    Targets are int32 ``[B, M]``, or ``[B, M + 1]`` with ``next_sentence``, whose last column is 0 where the second text
    follows the first and 1 where it does not. Outputs are those of ``MaskedLanguageModel``, or ``token_logits`` alone.

    Args:
        next_sentence: whether the last column is that of the next sentence.
        kwargs: ``reduction``, ``name``, ``dtype``.
    """

    def __init__(self, *, next_sentence=False, name="masked_tokens", **kwargs):
        super().__init__(name=name, **kwargs)
        self.next_sentence = next_sentence

    def call(self, y_true, y_pred):
        """Values float32, of the targets' shape."""
        tokens = y_pred["token_logits"] if isinstance(y_pred, Mapping) else y_pred
        if not self.next_sentence:
            return ops.sparse_categorical_crossentropy(y_true, tokens, from_logits=True)
        values = ops.sparse_categorical_crossentropy(y_true[:, :-1], tokens, from_logits=True)
        follows = ops.sparse_categorical_crossentropy(y_true[:, -1], y_pred["next_sentence_logits"], from_logits=True)
        return ops.concatenate([values, follows[:, None]], axis=1)

    def get_config(self):
        return super().get_config() | {"next_sentence": self.next_sentence}


@keras.saving.register_keras_serializable(package="kzoo")
class MaskedAccuracy(CountedAccuracy):
    """The share of masked tokens guessed right, or of pairs told apart.

    Args:
        output: which output of ``MaskedLanguageModel`` is meant.
        next_sentence: whether the targets' last column is that of the next sentence; see ``MaskedTokenLoss``.
        kwargs: ``name``, ``dtype``.
    """

    def __init__(self, *, output="token_logits", next_sentence=False, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.output = output
        self.next_sentence = next_sentence

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the targets whose weight is not 0, each once."""
        part = slice(None)
        if self.next_sentence:
            part = slice(-1) if self.output == "token_logits" else slice(-1, None)
        y_pred = y_pred[self.output] if isinstance(y_pred, Mapping) else y_pred
        if self.output != "token_logits":
            y_pred = y_pred[:, None]  # [B, 1, 2]
        weights = None if sample_weight is None else sample_weight[:, part]
        return super().update_state(y_true[:, part], y_pred, sample_weight=weights)

    def get_config(self):
        return super().get_config() | {"output": self.output, "next_sentence": self.next_sentence}
