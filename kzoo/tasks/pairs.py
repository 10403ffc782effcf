"""Prompts with their answers as token ids, made by the function that frames prompts when the model is asked."""

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.documents import pieces
from kzoo.data.examples import Examples
from kzoo.data.exchanges import NO_ANSWER, Exchanges
from kzoo.data.spans import edges_of
from kzoo.errors import UserError


def read_pairs(task: Any, examples: Examples) -> Exchanges:
    """Tokenizes the columns ``prompt`` and ``answer``; pairs whose answer is blank are left out.

    Args:
        task: whose ``tokenize`` says how a prompt and its answer form a row.
        examples: texts.

    Raises:
        UserError: a value that is no text.
    """
    columns = {}
    for name in ("prompt", "answer"):
        columns[name] = examples[name].tolist()
        for row, value in enumerate(columns[name]):
            if not isinstance(value, str):
                raise UserError(f"{name} of {examples.source} must hold texts. Row {row + 1} holds {value!r}.")
    rows = np.array([row for row, answer in enumerate(columns["answer"]) if answer.strip()], np.int64)
    texts = {name: [values[row] for row in rows] for name, values in columns.items()}
    sizes = [sum(map(len, pair)) for pair in zip(*texts.values(), strict=True)]
    edges = pieces(sizes, rows=1024, characters=1 << 20)
    parts = []
    with tf.device("CPU:0"):
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            parts.append(
                task.tokenize({name: tf.constant(values[start:end], tf.string) for name, values in texts.items()})
            )
    missing = len(columns["answer"]) - len(rows)
    return Exchanges(
        ids=np.concatenate([part["token_ids"].flat_values.numpy() for part in parts]),
        learned=np.concatenate([part["learned"].flat_values.numpy() for part in parts]).astype(bool),
        edges=edges_of(np.concatenate([part["token_ids"].row_lengths().numpy() for part in parts])),
        examples=rows,
        left_out={NO_ANSWER: missing} if missing else {},
    )
