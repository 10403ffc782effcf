"""The task ``search``: an embedder that carries its corpus along, so that a served model answers with passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.search.index import Index
from kzoo.tasks.embed import Embed
from kzoo.tasks.signature import Signature

# B queries, N passages, K hits, D width

MOST_BYTES = 1 << 30
"""Of vectors and texts: they stand in the server's memory as often as there are versions of the model."""
NOTHING = -1
"""The index of a place without a hit."""


@dataclass(frozen=True, repr=False)
class Corpus:
    """What is searched: texts, and their vectors of length 1, float32 ``[N, D]``."""

    texts: Sequence[str]
    vectors: np.ndarray
    source: str = ""

    def __repr__(self) -> str:
        return f"{len(self.texts)} passages of {self.source or 'a list'}"


class Search(Embed):
    """Finds the passages of a small corpus that are nearest to a text; the corpus is part of the model.

    Every passage is compared with every query, in the graph. The corpus is fixed when the model is exported.

    Args:
        pretrained: what ``kzoo.load`` returned.
        corpus: texts with their vectors.
        top: hits of the plain answer.
        most: hits that a request may ask for.
        options: those of ``Embed``, which must be those that the vectors were made with.

    Raises:
        UserError: a corpus that is empty, too large, or of vectors of another width; ``top`` above ``most``.

    Answers: ``text`` string, ``score`` float32 (the cosine) and ``index`` int32 (the place in the corpus, from 0), all
    ``[B, K]``, the best hit first, and ``count`` int32 ``[B]``. K is the largest number of hits of the rows that are
    answered together; behind a row's own there is "", 0 and -1. The signature ``search`` takes ``top`` int32 ``[B]``,
    too, and answers with 1 to ``most`` hits; ``embed`` gives ``embedding`` ``[B, D]``.
    """

    name = "search"

    def __init__(self, pretrained, *, corpus: Corpus, top: int = 5, most: int = 100, **options):
        if not 1 <= top <= most:
            raise UserError(f"top must lie between 1 and most. Received top={top}, most={most}.")
        if not len(corpus.texts):
            raise UserError("A corpus must have a passage or more. Received none.")
        size = corpus.vectors.nbytes + sum(len(text.encode("utf-8")) for text in corpus.texts)
        if size > MOST_BYTES:
            raise UserError(_too_large(size, len(corpus.texts)))
        super().__init__(pretrained, **options)
        if corpus.vectors.shape != (len(corpus.texts), width := self.model.output.shape[-1]):
            raise UserError(
                f"The corpus needs a vector of {width} numbers for each of its {len(corpus.texts)} passages. Received "
                f"{list(corpus.vectors.shape)}."
            )
        self.corpus, self.top, self.most = corpus, top, most
        with tf.device("CPU:0"):
            self._vectors = tf.Variable(np.asarray(corpus.vectors, np.float32), trainable=False, name="corpus_vectors")
            self._texts = tf.Variable(list(corpus.texts), dtype=tf.string, trainable=False, name="corpus_texts")

    @classmethod
    def of(cls, index: Index, *, top: int = 5, most: int = 100) -> "Search":
        """The task of an index: its model with its passages.

        Raises:
            UserError: the index is too large to be part of a model.
        """
        size = index.vectors.nbytes + index.text_bytes
        if size > MOST_BYTES:
            raise UserError(_too_large(size, len(index)))
        texts = [index[number].text for number in range(len(index))]
        corpus = Corpus(texts, np.array(index.vectors), source=index.folder.name)
        return cls(index.task.pretrained, corpus=corpus, top=top, most=most, **index.task.options())

    @property
    def further_variables(self) -> dict[str, tf.Variable]:
        """The corpus, which an export keeps beside the model's weights."""
        return {"corpus/vectors": self._vectors, "corpus/texts": self._texts}

    def postprocess(self, outputs, inputs, tokens):
        return self._hits(outputs, tf.fill([tf.shape(outputs)[0]], self.top))

    def _hits(self, vectors: tf.Tensor, top: tf.Tensor) -> dict[str, tf.Tensor]:
        """Hits of vectors ``[B, D]``, of each row as many as ``top`` ``[B]`` says."""
        queries = tf.math.l2_normalize(tf.cast(vectors, tf.float32), axis=-1, epsilon=1e-12)
        scores = tf.matmul(queries, self._vectors, transpose_b=True)  # [B, N]
        count = tf.clip_by_value(top, 1, min(self.most, len(self.corpus.texts)))
        width = tf.reduce_max(tf.concat([count, [1]], 0))
        best, place = tf.math.top_k(scores, k=width)
        is_hit = tf.sequence_mask(count, width)
        return {
            "text": tf.where(is_hit, tf.gather(self._texts, place), ""),
            "score": tf.where(is_hit, best, 0.0),
            "index": tf.where(is_hit, place, NOTHING),
            "count": count,
        }

    def signatures(self):
        """The plain answer; ``search`` with the number of hits; ``embed``."""

        def search(text, top):
            return self._hits(self.logits(self.tokenize({"text": text})), top)

        def embed(text):
            return super(Search, self).postprocess(self.logits(self.tokenize({"text": text})), {}, {})

        knob = {"top": tf.TensorSpec([None], tf.int32, name="top")}
        return super().signatures() | {
            self.name: Signature(search, dict(self.inputs) | knob, defaults={"top": [self.top]}),
            "embed": Signature(embed, dict(self.inputs)),
        }

    def options(self):
        return super().options() | {"corpus": self.corpus, "top": self.top, "most": self.most}

    def save(self, directory) -> Any:
        """Not possible: the model and its index are kept each by itself."""
        raise UserError("A model with its corpus is exported. Save the embedder and its index, each by itself.")


def _too_large(size: int, number: int) -> str:
    return (
        f"A corpus inside of a model may have {MOST_BYTES / 1e9:.1f} GB of vectors and texts. This one has "
        f"{size / 1e9:.1f} GB in {number:,} passages. Search it in Python (kzoo.Index), or serve a part of it."
    )
