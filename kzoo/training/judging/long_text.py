"""Perplexity of a text that is longer than the model can read: windows that overlap."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.data import wikitext
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.report import Plot
from kzoo.training.judging.judgement import Judgement
from kzoo.training.judging.tokens import surprise

# N tokens of the text, W windows, B windows of a batch, T tokens of a window


@dataclass(frozen=True)
class Windows:
    """Where windows lie in a text, and which tokens each predicts.

    Attributes:
        starts: first token of each, int ``[W]``.
        ends: one past the last, int ``[W]``.
        scored: the first token that counts, int ``[W]``: those before were predicted by an earlier window.
    """

    starts: np.ndarray
    ends: np.ndarray
    scored: np.ndarray


def windows(number: int, *, length: int, stride: int) -> Windows:
    """The windows of a text: one every ``stride`` tokens, until one reaches the end.

    Every token but the first is predicted once, with at least ``length - stride`` tokens before it where the text has
    them. With ``stride`` as long as the window, no window knows what stood before, and its first token is not
    predicted.
    """
    starts, ends, scored, done = [], [], [], 0
    for start in range(0, number, stride):
        end = min(start + length, number)
        starts.append(start)
        ends.append(end)
        scored.append(max(done, start + 1))
        done = end
        if end == number:
            break
    return Windows(np.array(starts), np.array(ends), np.array(scored))


def judge_long_text(
    task, text: str, *, length: int | None = None, stride: int | None = None, detokenize: bool = False, batch_size=4
) -> Judgement:
    """Measures a language model on one long text, by windows that overlap (Baevski and Auli 2019, section 4.5).

    Args:
        task: a ``Generate``.
        text: as one piece; no token is put before or after it.
        length: tokens of a window; by default as many as the task reads.
        stride: from the start of a window to that of the next; by default half the length.
        detokenize: whether to put WikiText's tokens together first.
        batch_size: windows at once.

    Returns:
        ``loss`` of a token in nats, ``perplexity`` with a bootstrap interval over windows, ``word_perplexity`` (per
        word between white space of the text as it was given, which can be compared between tokenizers),
        ``bits_per_byte``, ``tokens`` predicted, ``words``, ``unknown_words`` (``<unk>``), ``window``, ``stride`` and
        ``text``: what was done to it.

    Raises:
        UserError: not a language model, a window that it cannot read, a stride that leaves tokens out.
    """
    if task.name != "generate":
        raise UserError(f"Perplexity of a long text needs a model that writes text. This task is {task.name}.")
    length = length or task.max_length
    stride = stride or max(length // 2, 1)
    if not 2 <= length <= task.max_length:
        raise UserError(
            f"The window must have 2 to {task.max_length} tokens, as many as the model reads. Received {length}."
        )
    if not 1 <= stride <= length:
        raise UserError(f"The stride must lie between 1 and the window's {length} tokens. Received {stride}.")
    marked = wikitext.is_tokenized(text)
    read = wikitext.detokenize(text) if detokenize else text
    with tf.device("CPU:0"):
        ids = task.tokenizer.tokenize([read]).ids.values.numpy()
    if len(ids) < 2:
        raise UserError("A text to predict must have two tokens or more. Received fewer.")
    plan = windows(len(ids), length=length, stride=stride)
    losses, counts = _measured(task, ids, plan, length, batch_size)
    words, total = len(text.split()), float(losses.sum())
    figures: dict[str, Any] = {"loss": total / int(counts.sum())} | surprise(losses, counts)
    figures |= {
        "word_perplexity": metrics.perplexity(total / max(words, 1)),
        "bits_per_byte": total / np.log(2) / len(text.encode("utf-8")),
        "tokens": int(counts.sum()),
        "words": words,
        "unknown_words": text.split().count("<unk>"),
        "window": length,
        "stride": stride,
        "text": _said(marked, detokenize),
    }
    place = plan.starts / len(ids)
    axes = plots.Axes((0, 1), (0, float((losses / counts).max())), "place in the text", "loss of a token, in nats")
    axes.line(place, losses / counts, "var(--one)")
    return Judgement(figures=figures, plots=[Plot(title="Loss along the text", svg=axes.svg("Loss along the text"))])


def _said(marked: bool, detokenized: bool) -> str:
    if detokenized:
        return "put together again from WikiText's tokens; words between white space as in the file"
    return "as it stands, with the marks of WikiText's tokenizer (not detokenized)" if marked else "as it stands"


def _measured(task, ids: np.ndarray, plan: Windows, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of losses and numbers of tokens of each window ``[W]``."""

    @tf.function(reduce_retracing=True, autograph=False)
    def run(token_ids, mask, weights):
        logits = task.model({"token_ids": token_ids, "padding_mask": mask}, training=False)[:, :-1]
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], tf.cast(logits, tf.float32))
        return tf.reduce_sum(values * weights, axis=1)  # [B]

    pad = task.tokenizer.special_ids.get("pad", 0)
    length = min(length, len(ids))
    losses = []
    for first in range(0, len(plan.starts), batch_size):
        token_ids = np.full([batch_size, length], pad, np.int32)
        mask, weights = np.zeros([batch_size, length], np.int32), np.zeros([batch_size, length - 1], np.float32)
        some = slice(first, first + batch_size)
        for row, (start, end, scored) in enumerate(
            zip(plan.starts[some], plan.ends[some], plan.scored[some], strict=True)
        ):
            token_ids[row, : end - start] = ids[start:end]
            mask[row, : end - start] = 1
            weights[row, scored - start - 1 : end - start - 1] = 1.0
        mask[len(plan.starts[some]) :, 0] = 1  # a row without tokens has nothing to attend to
        losses.append(run(token_ids, mask, weights).numpy()[: len(plan.starts[some])])
    return np.concatenate(losses).astype(np.float64), plan.ends - plan.scored
