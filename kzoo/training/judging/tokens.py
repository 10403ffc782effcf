"""The next token of running text."""

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.report import Plot
from kzoo.training.judging.judgement import Judgement, answers

# W rows, B rows of a batch, T length


def judge_tokens(task, examples, batch_size) -> Judgement:
    """Loss of a token, perplexity, accuracy of the next token; the losses of rows."""
    losses, counts, hits, rows = [], [], 0.0, []
    for part in answers(task, examples, batch_size, keep=lambda outputs, targets: _hit(outputs, targets)):
        real = part.weights != 0
        losses.append((part.losses * real).sum(-1))
        counts.append(real.sum(-1))
        hits += float((part.outputs * real).sum())
        rows.append(part.rows)
    total, tokens = np.concatenate(losses).astype(np.float64), np.concatenate(counts)
    if not tokens.sum():
        raise UserError(f"{examples.source} holds no token that follows another: nothing is predicted.")
    figures = {"loss": float(total.sum() / tokens.sum())} | surprise(total, tokens)
    figures |= {"accuracy": hits / float(tokens.sum()), "tokens": int(tokens.sum()), "rows": len(tokens)}
    order = np.argsort(np.concatenate(rows))
    total, tokens = total[order], tokens[order]
    real = tokens > 0
    each = total[real] / tokens[real]
    drawn = [
        Plot(
            title="Loss of a row",
            svg=plots.histogram([("rows", each)], "loss of a token, in nats"),
            note="Rows are texts, or blocks of running text; the mean of each one's tokens.",
        )
    ]
    return Judgement(figures=figures, plots=drawn)


def surprise(losses: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    """Perplexity and its interval, by the bootstrap over rows: sums of losses ``[W]``, tokens ``[W]``."""

    def of(some, counts):
        return metrics.perplexity(some.sum() / counts.sum()) if counts.sum() else float("nan")

    return {
        "perplexity": of(losses, tokens),
        "perplexity_interval_95": list(metrics.bootstrap_interval(of, losses, tokens)),
    }


def _hit(outputs, targets):
    """Whether the likeliest token is the right one, float32 ``[B, T]``."""
    return tf.cast(tf.argmax(outputs, -1, output_type=tf.int32) == tf.cast(targets, tf.int32), tf.float32)
