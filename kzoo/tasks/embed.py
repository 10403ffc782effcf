"""A vector for each text, for search and comparison."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.checkpoints.replacing import write_text
from kzoo.errors import UserError
from kzoo.tasks.contrastive import Contrastive, CosineOrder, CosineScore, text_numbers
from kzoo.tasks.framing import frame_text
from kzoo.tasks.pooling import POOLINGS, Pooling
from kzoo.tasks.regress import numbers_of
from kzoo.tasks.task import Task

# B texts or examples, W rows (a text of an example each), T length, D width

TEXTS = ("text", "text_pair", "negative")
"""The columns of an example's texts, in the order of their rows."""
OBJECTIVES = ("contrastive", "cosine_order", "cosine_score")


class Embed(Task):
    """Gives each text a vector; texts of like meaning lie close.

    It learns from examples of one of three kinds:

    - pairs, ``text`` and ``text_pair``, that belong together: a question and its answer, a sentence and its paraphrase.
      Each text is to be nearer to its own pair than to those of the other examples of its batch (``contrastive``), so
      larger batches teach more. With ``accumulate`` a part of a batch is computed by itself, and its texts meet no
      others; the rows of several devices do meet;
    - triplets, which have a ``negative``, too: a text near to ``text`` that does not belong to it. All negatives of a
      batch are wrong answers to each of its texts;
    - pairs with a number, ``label``, that says how alike they are. By ``cosine_order`` pairs with a higher number are
      to have a higher cosine, by ``cosine_score`` the cosine is to be the number, brought to 0 to 1.

    Args:
        pretrained: what ``kzoo.load`` returned.
        pooling: "mean", "cls" or "max" over the tokens' outputs; by default what the checkpoint says, else "mean".
        normalize: whether vectors have length 1, so that their product is the cosine.
        max_length: most tokens of a text, special ones included; longer texts are cut.
        objective: what is learned, "contrastive", "cosine_order" or "cosine_score"; by default ``cosine_order`` from
            examples with a column ``label``, else ``contrastive``.
        temperature: by which differences of cosines are divided in ``contrastive`` and ``cosine_order``; the lower, the
            more the hardest comparisons count.
        scores: for ``cosine_score`` the numbers of texts that have nothing in common and of equal ones, ``[0, 5]`` for
            example; by default the lowest and the highest of the first examples that are learned.

    Raises:
        UserError: an unknown pooling or objective, a temperature that is none, or a length that the model cannot read.

    Answers: ``embedding`` float32 ``[B, D]``.
    """

    name = "embed"
    can_be_compiled = True
    keeps_examples_whole = True

    def __init__(
        self,
        pretrained,
        *,
        pooling: str | None = None,
        normalize: bool = True,
        max_length=None,
        objective: str | None = None,
        temperature: float = 0.05,
        scores: Sequence[float] | None = None,
    ):
        pooling = pooling or pretrained.pooling or "mean"
        if pooling not in POOLINGS:
            raise UserError(f"pooling must be one of {', '.join(POOLINGS)}. Received {pooling!r}.")
        if objective is not None and objective not in OBJECTIVES:
            raise UserError(f"objective must be one of {', '.join(OBJECTIVES)}. Received {objective!r}.")
        if not temperature > 0:
            raise UserError(f"temperature must be above 0. Received {temperature}.")
        if scores is not None and (len(scores) != 2 or not scores[0] < scores[1]):
            raise UserError(f"scores must be the lowest and the highest number, [0, 5] for example. Received {scores}.")
        self.pooling = pooling
        self.normalize = normalize
        self.objective = objective
        self.temperature = float(temperature)
        self.scores = None if scores is None else [float(score) for score in scores]
        self._learned = objective  # what the examples seen last are learned by
        super().__init__(pretrained, max_length=max_length)

    def build(self, backbone):
        """A model from ``token_ids`` and ``padding_mask`` to vectors ``[B, D]``."""
        inputs = {
            "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
            "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
        }
        x = backbone(inputs)["sequence_output"]
        pooling = Pooling(pooling=self.pooling, normalize=self.normalize, name="pooling", dtype="float32")
        return keras.Model(inputs, pooling(x, inputs["padding_mask"]), name="embed")

    # -- from strings to vectors -----------------------------------------------------------------------------------

    def tokenize(self, inputs):
        """Rows of each example's texts, one after the other; a request has one text."""
        texts = [inputs[name] for name in TEXTS if name in inputs]
        tokens = frame_text(self.tokenizer, tf.reshape(tf.stack(texts, axis=1), [-1]), self.max_length)
        return tokens | {"row": tokens["row"] // len(texts)}

    def postprocess(self, outputs, inputs, tokens):
        return {"embedding": tf.cast(outputs, tf.float32)}

    def vectors(self, texts: Sequence[str], *, batch_size: int = 32) -> np.ndarray:
        """The vectors of texts, float32 ``[B, D]``: as ``predict``, without lists of Python's numbers between.

        Args:
            texts: a list of texts.
            batch_size: texts at once.
        """
        answers = self.predict_arrays({"text": texts}, batch_size=batch_size)
        return answers["embedding"] if len(texts) else np.zeros([0, self.model.output.shape[-1]], np.float32)

    # -- learning --------------------------------------------------------------------------------------------------

    def columns_in(self, examples):
        """Two texts, the third where there is one to learn from, or a number beside them."""
        pair = {"text": "string", "text_pair": "string"}
        if self._objective_of(examples) != "contrastive":
            return pair | {"label": "number"}
        return pair | ({"negative": "string"} if "negative" in examples else {})

    def _objective_of(self, examples) -> str:
        return self.objective or ("cosine_order" if "label" in examples else "contrastive")

    def targets(self, examples, tokens):
        """What the rows are to each other, and weights of 1.

        Returns:
            For pairs and triplets float32 ``[W, 3]``: two numbers that tell a text, and what it is to its example. For
            pairs with a number that number float32 ``[W, 1]``, in both rows. Weights of 1 float32 ``[W]``.

        Raises:
            UserError: a label that is no number.
        """
        self._learned = self._objective_of(examples)
        if self._learned == "contrastive":
            columns = [examples[name] for name in TEXTS if name in self.columns_in(examples)]
            _, number = np.unique(np.stack(columns, axis=1).astype(str).reshape(-1), return_inverse=True)
            role = np.tile(np.arange(len(columns)), len(examples))
            return tf.constant(np.stack([*text_numbers(number), role], axis=1), tf.float32), tf.ones([len(role)])
        numbers = numbers_of(examples["label"])
        if self._learned == "cosine_score" and self.scores is None:
            self.scores = [float(numbers.min()), float(numbers.max())]
            if self.scores[0] == self.scores[1]:
                raise UserError(f"All labels of {examples.source} are {self.scores[0]}. Say what they mean in scores.")
        return tf.constant(np.repeat(numbers, 2)[:, np.newaxis], tf.float32), tf.ones([2 * len(numbers)])

    def loss(self):
        if self._learned == "contrastive":
            return Contrastive(temperature=self.temperature)
        if self._learned == "cosine_order":
            return CosineOrder(temperature=self.temperature)
        if self._learned == "cosine_score" and self.scores is not None:
            return CosineScore(low=self.scores[0], high=self.scores[1])
        raise UserError(
            f"What an embedder learns is known by its examples, or by objective ({', '.join(OBJECTIVES)}; cosine_score "
            "with scores). Name it, or bring the examples first."
        )

    @property
    def answer_measures(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the examples seen last."""
        return {None: (), "contrastive": ("recall_at_1", "mean_reciprocal_rank")}.get(self._learned, ("spearman",))

    def answer_figures(self, examples, *, batch_size):
        """How well numbers are followed by cosines, or how many texts find their own pair among all."""
        first, second = (self.vectors(examples[name].tolist(), batch_size=batch_size) for name in TEXTS[:2])
        if self._learned != "contrastive":
            return {"spearman": metrics.spearman(numbers_of(examples["label"]), metrics.cosine(first, second))}
        ranks = metrics.ranks_of_pairs(first, second, examples["text"], examples["text_pair"])
        return {"recall_at_1": metrics.recall_at(ranks, 1), "mean_reciprocal_rank": metrics.reciprocal_rank(ranks)}

    def save(self, directory) -> Path:
        """As every task's; beside it stands what Sentence Transformers reads pooling and normalization from."""
        directory = super().save(directory)
        names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
        modes = {f"pooling_mode_{name}": kind == self.pooling for kind, name in names.items()}
        kinds = ["Transformer", "Pooling", *(["Normalize"] if self.normalize else [])]
        modules = [
            {
                "idx": number,
                "name": str(number),
                "path": f"{number}_{kind}" if number else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, kind in enumerate(kinds)
        ]
        (directory / "1_Pooling").mkdir(exist_ok=True)
        for name, content in (
            ("modules.json", modules),
            ("1_Pooling/config.json", {"word_embedding_dimension": self.model.output.shape[-1]} | modes),
            ("sentence_bert_config.json", {"max_seq_length": self.max_length, "do_lower_case": False}),
        ):
            write_text(directory / name, json.dumps(content, indent=2) + "\n")
        return directory

    def options(self):
        options = super().options() | {"pooling": self.pooling, "normalize": self.normalize}
        if self._learned:
            options |= {"objective": self._learned, "temperature": self.temperature}
        return options | ({"scores": self.scores} if self.scores else {})
