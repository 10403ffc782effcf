"""What a masked language model takes masked words for, while it learns."""

import re

import numpy as np
import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.training.config import GuessesConfig
from kzoo.training.periodic import Periodic
from kzoo.training.progress import Progress
from kzoo.training.watching.curves import Curves

# B rows, T length, M places, K words

TAG = "guesses"


class Guesses(Periodic):
    """Writes texts with masked places, the likeliest words for each, and the right ones.

    The texts are rows of the validation, the same ones with the same masks each time.

    Args:
        task: ``fill_mask`` or ``pretrain``; its model is the one that learns.
        batches: of the validation.
        config: how many texts and words, and how often.
        progress: the run's.
        curves: where to write.
    """

    def __init__(self, task, batches: Batches, config: GuessesConfig, progress: Progress, curves: Curves):
        super().__init__(progress, every=config.every)
        self.task = task
        self.batches = batches
        self.config = config
        self.curves = curves
        self.texts: list[str] = []
        self._rows: tuple | None = None

    def act(self) -> None:
        """Writes now."""
        self.texts = self.guess()
        self.curves.write_texts(TAG, self.texts, self.progress.total)
        self.curves.resume_clock()

    def guess(self) -> list[str]:
        """The texts as they are shown, in Markdown."""
        if self._rows is None:  # rows of middling length: the plan goes from short to long
            batch = next(iter(self.batches.dataset(0, self.batches.steps // 2).take(1)))
            self._rows = tf.nest.map_structure(lambda tensor: tensor[: self.config.texts], batch)
        features, targets, weights = self._rows
        logits = self.task.model(features, training=False)["token_logits"]
        scores, ids = tf.math.top_k(tf.nn.softmax(tf.cast(logits, tf.float32)), self.config.words)  # [B, M, K]
        places = features["mask_positions"].numpy()
        is_guessed = weights.numpy()[:, : places.shape[1]] != 0  # behind the places stands the next sentence
        return [
            self._markdown(
                features["token_ids"].numpy()[row][features["padding_mask"].numpy()[row] != 0],
                places[row][is_guessed[row]],
                targets.numpy()[row, : places.shape[1]][is_guessed[row]],
                ids.numpy()[row][is_guessed[row]],
                scores.numpy()[row][is_guessed[row]],
            )
            for row in range(len(places))
            if is_guessed[row].any()
        ]

    def _markdown(self, token_ids, places, right, guessed, scores) -> str:
        """One text and the table of its places."""
        order = np.argsort(places)
        edges = [-1, *places[order].tolist(), len(token_ids)]
        pieces = [self._text(token_ids[start + 1 : end]) for start, end in zip(edges, edges[1:], strict=False)]
        text = _escaped(pieces[0])
        for number, piece in enumerate(pieces[1:], start=1):
            text += f" **⟦{number}⟧** {_escaped(piece)}"
        lines = ["| place | the model reads | right | guesses |", "| --- | --- | --- | --- |"]
        for number, place in enumerate(order, start=1):
            words = []
            for token, score in zip(guessed[place], scores[place], strict=True):
                word = f"{_escaped(self._token(token))} {score:.2f}"
                words.append(f"**{word}**" if token == right[place] else word)
            read, expected = self._token(token_ids[places[place]]), self._token(right[place])
            lines.append(f"| {number} | {_escaped(read)} | {_escaped(expected)} | {' · '.join(words)} |")
        return text.strip() + "\n\n" + "\n".join(lines)

    def _text(self, token_ids) -> str:
        if not len(token_ids):
            return ""
        ragged = tf.RaggedTensor.from_row_lengths(tf.cast(token_ids, tf.int32), [len(token_ids)])
        return self.task.tokenizer.detokenize(ragged, skip_special_tokens=True).numpy()[0].decode("utf-8", "replace")

    def _token(self, number) -> str:
        return self.task.tokenizer.token_of(int(number))


def _escaped(text: str) -> str:
    """Text as it stands, whatever Markdown would read into it."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]()>#+\-.!|])", r"\\\1", text)
