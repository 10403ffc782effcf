"""The likeliest words for masked places in a text, learned by masking some."""

import tensorflow as tf

from kzoo.data import packing
from kzoo.errors import UserError
from kzoo.models.masked import build_masked
from kzoo.tasks import masking
from kzoo.tasks.chunks import by_length
from kzoo.tasks.framing import frame_text
from kzoo.tasks.masked_loss import MaskedAccuracy, MaskedTokenLoss
from kzoo.tasks.task import Task
from kzoo.tokenizers import WordPiece

# B texts, T length, M masked places, K candidates


class FillMask(Task):
    """Guesses what stands at each masked place of a text, ``[MASK]`` or ``<mask>`` as the tokenizer writes it.

    Training masks texts anew in each epoch, as a function of the seed, the epoch and the row (Liu et al. 2019), and the
    loss counts at the masked places only. Long texts go on in further rows.

    Args:
        pretrained: what ``kzoo.load`` or ``kzoo.fresh`` returned; a BERT-style model.
        top_k: candidates for each place.
        max_length: most tokens of a text, special ones included; longer texts are cut.
        mask_share: share of a row's tokens that training masks.
        whole_words: whether training masks all tokens of a word or none; by default with WordPiece.
        full_sentences: whether training fills each row up, text after text with a separator between (RoBERTa's way);
            else a row holds one text or a part of it.

    Raises:
        UserError: the model is not an encoder, its tokenizer has no mask, ``top_k`` is not in the vocabulary's size, or
            ``mask_share`` is no share.

    Answers: ``words`` string ``[B, M, K]``, ``scores`` float32 ``[B, M, K]`` (probabilities among all tokens, the
    likeliest first) and ``count`` int32 ``[B]``: how many of the M places the text has.
    """

    name = "fill_mask"
    reads_documents = True

    def __init__(
        self,
        pretrained,
        *,
        top_k: int = 5,
        max_length=None,
        mask_share: float = 0.15,
        whole_words: bool | None = None,
        full_sentences: bool = False,
    ):
        if pretrained.is_decoder or "mask" not in pretrained.tokenizer.special_ids:
            raise UserError(
                f"{self.name} needs a BERT-style model with a mask token. {pretrained.source} is "
                f"{pretrained.family.MODEL_TYPE}."
            )
        if not 0 < top_k <= pretrained.backbone.vocabulary_size:
            raise UserError(
                f"top_k must lie between 1 and the vocabulary's {pretrained.backbone.vocabulary_size}. "
                f"Received {top_k}."
            )
        if not 0 < mask_share < 1:
            raise UserError(f"mask_share must lie between 0 and 1. Received {mask_share}.")
        self.top_k = top_k
        self.mask_share = mask_share
        self.whole_words = isinstance(pretrained.tokenizer, WordPiece) if whole_words is None else whole_words
        self.full_sentences = self.fills_rows = full_sentences
        super().__init__(pretrained, max_length=max_length)
        self.import_head()
        self._continues = masking.continues_words(self.tokenizer) if self.whole_words else None
        self._ordinary = masking.ordinary_ids(self.tokenizer)

    def build(self, backbone):
        """A model from ``token_ids`` and ``padding_mask`` to ``token_logits`` ``[B, T, V]``."""
        form = self.pretrained.head_for(self.name)
        return build_masked(backbone, self.pretrained.config, **(form.options(self.pretrained.config) if form else {}))

    @property
    def mask_id(self) -> int:
        """The token that stands for a masked place."""
        return self.tokenizer.special_ids["mask"]

    def tokenize(self, inputs):
        return frame_text(self.tokenizer, inputs["text"], self.max_length)

    def rows(self, documents):
        """Rows of at most ``max_length`` tokens between the special tokens of the tokenizer's template."""
        template = self.tokenizer.template
        separator = self.tokenizer.special_ids.get("sep", self.tokenizer.special_ids.get("eos"))
        return packing.windows(
            documents,
            self.max_length,
            before=template.before,
            after=template.after,
            separator=separator if self.full_sentences else None,
        )

    def prepare(self, tokens, length, is_real, keys):
        """Rows with masked tokens and ``mask_positions`` ``[W, M]``; targets are what stood there.

        M is the same for all rows of a length; the places that a row does not need weigh 0.
        """
        features = self.pack(tokens, length)
        ids = features["token_ids"]
        is_ordinary = tf.scatter_nd(
            self._ordinary[:, None], tf.ones(len(self._ordinary), tf.bool), [self.tokenizer.vocabulary_size]
        )
        candidates = tf.cast(features["padding_mask"], tf.bool) & tf.gather(is_ordinary, ids)
        continues = tf.zeros_like(candidates)
        if self._continues is not None:
            continues = tf.gather(tf.constant(self._continues), ids)
        chosen = masking.choose(candidates, continues, keys, share=self.mask_share)
        places, weights = masking.places(chosen, masking.places_for(length, self.mask_share))
        masked = masking.replace(ids, chosen, keys, mask_id=self.mask_id, ordinary=self._ordinary)
        features |= {"token_ids": masked, "mask_positions": places}
        return features, tf.gather(ids, places, batch_dims=1), weights * is_real[:, tf.newaxis]

    def loss(self):
        return MaskedTokenLoss()

    def metrics(self):
        return [MaskedAccuracy()]

    def logits(self, tokens):
        """Not the logits of a vocabulary at each token: ``ids`` and ``scores`` ``[B, M, K]`` of the candidates."""
        specs = {
            "ids": tf.TensorSpec([None, None, self.top_k], tf.int32),
            "scores": tf.TensorSpec([None, None, self.top_k], tf.float32),
        }
        return by_length(tokens, lambda some, length: self._candidates(self.pack(some, length)), specs)

    def _candidates(self, features) -> dict[str, tf.Tensor]:
        """Ids and probabilities ``[B, M, K]`` for the masked places of each row, in their order."""
        is_mask = tf.cast(features["token_ids"] == self.mask_id, tf.int32)  # [B, T]
        most = tf.maximum(tf.reduce_max(tf.reduce_sum(is_mask, 1)), 1)
        places = tf.argsort(1 - is_mask, axis=1, stable=True)[:, :most]  # [B, M], masked ones first
        logits = self.model(features | {"mask_positions": places}, training=False)["token_logits"]
        scores, ids = tf.math.top_k(tf.nn.softmax(logits), self.top_k)
        return {"ids": ids, "scores": scores}

    def postprocess(self, outputs, inputs, tokens):
        count = tf.reduce_sum(tf.cast(tokens["token_ids"] == self.mask_id, tf.int32), axis=1)  # [B]
        most = tf.reduce_max(tf.concat([count, [0]], 0))
        ids, scores = outputs["ids"][:, :most], outputs["scores"][:, :most]
        is_place = tf.sequence_mask(count, most)[:, :, None]  # [B, M, 1]
        words = tf.strings.strip(self.tokenizer.detokenize(tf.reshape(ids, [-1, 1]), skip_special_tokens=False))
        return {
            "words": tf.where(is_place, tf.reshape(words, tf.shape(ids)), ""),
            "scores": tf.where(is_place, scores, 0.0),
            "count": count,
        }

    def predict(self, texts, *, batch_size: int = 32):
        """As ``Task.predict``, with ``words`` and ``scores`` of the text's own places only."""
        answers = super().predict(texts, batch_size=batch_size)
        return [
            {name: value[: answer["count"]] if name != "count" else value for name, value in answer.items()}
            for answer in answers
        ]

    def options(self):
        return super().options() | {
            "top_k": self.top_k,
            "mask_share": self.mask_share,
            "whole_words": self.whole_words,
            "full_sentences": self.full_sentences,
        }

    def example_inputs(self):
        return {"text": [f"A model zoo that {self.tokenizer.token_of(self.mask_id)} what it trains."]}
