"""Decoding compiled by XLA: the loop over dense prompts, the way to its few shapes and back."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kzoo.generation.blocked import Bias
from kzoo.generation.controls import Controls
from kzoo.generation.decode import Decoded, decode
from kzoo.generation.grammar import Grammar
from kzoo.tasks.chunks import by_length
from kzoo.tasks.compiled import lengths_up_to, next_of

# B prompts, N rows of each, R = B * N, L most new tokens, P prompt length

ROWS = (1, 8)
"""Prompts of a program; the last is that of a chunk."""


class CompiledDecoding:
    """``decode`` of a backbone, compiled for a few numbers and lengths of prompts.

    Args:
        backbone: a ``kzoo.models.gpt.Decoder``.
        room: L, new tokens that a request may ask for; a program's cache always has room for them.
        most: tokens of a prompt.
        end_ids: the tokens that end a row.
        copies: N, rows that go on from each prompt.
        sees_whole_prompt: as of ``decode``.
        bias: ``[1, K]`` each, of every row, or None.
        blocked: ``[1, K, W]``, of every row, or None.
        grammar: what may be written at all, or None.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        room: int,
        most: int,
        end_ids: Sequence[int],
        copies: int = 1,
        sees_whole_prompt: bool = False,
        bias: Bias | None = None,
        blocked: Any = None,
        grammar: Grammar | None = None,
    ):
        self._lengths = lengths_up_to(most)
        self._room, self._copies = room, copies

        def of_each(value, rows):
            return None if value is None else tf.repeat(tf.constant(value), rows, axis=0)

        def run(prompt_ids, prompt_lengths, controls):
            rows = tf.shape(prompt_ids)[0]
            found = decode(
                backbone,
                prompt_ids,
                prompt_lengths,
                controls._replace(
                    bias=None if bias is None else Bias(*(of_each(one, rows) for one in bias)),
                    blocked=of_each(blocked, rows),
                    grammar=grammar,
                ),
                end_ids=end_ids,
                copies=copies,
                sees_whole_prompt=sees_whole_prompt,
                room=room,
            )
            return Decoded(*(tf.reshape(one, [rows, copies, *one.shape[1:]]) for one in found))

        self._run = tf.function(run, jit_compile=True, autograph=False)

    def __call__(self, prompts: tf.RaggedTensor, controls: Controls) -> Decoded:
        """As ``decode`` of prompts ``[B, None]``; the controls hold numbers, no strings, bias or blocked sequences."""
        asked = {name: value for name, value in controls._asdict().items() if value is not None and name != "grammar"}
        per_token, per_row = [None, self._copies, self._room], [None, self._copies]
        specs = Decoded(
            token_ids=tf.TensorSpec(per_token, tf.int32),
            counts=tf.TensorSpec(per_row, tf.int32),
            log_probabilities=tf.TensorSpec(per_token, tf.float32),
            ended=tf.TensorSpec(per_row, tf.bool),
        )

        def run(some, length):
            ids = some["token_ids"]
            count = ids.nrows(out_type=tf.int32)
            rows = next_of(ROWS, count)
            row = tf.range(rows)
            filled = {name: tf.gather(value, tf.minimum(row, count - 1)) for name, value in some.items()}
            ids = filled.pop("token_ids")
            filled["max_new_tokens"] = tf.where(row < count, filled["max_new_tokens"], 0)  # rows that only fill
            dense = ids.to_tensor(0)
            dense = tf.pad(dense, [[0, 0], [0, next_of(self._lengths, length) - tf.shape(dense)[1]]])
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            found = self._run(dense, lengths, Controls(**(dict.fromkeys(Controls._fields) | filled)))
            return Decoded(*(one[:count] for one in found))

        found = by_length({"token_ids": prompts} | asked, run, specs, rows=ROWS[-1])
        limit = tf.maximum(tf.reduce_max(controls.max_new_tokens), 0)
        flat = Decoded(*(tf.reshape(one, tf.concat([[-1], tf.shape(one)[2:]], 0)) for one in found))
        return flat._replace(token_ids=flat.token_ids[:, :limit], log_probabilities=flat.log_probabilities[:, :limit])
