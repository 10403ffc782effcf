"""Prompts longer than a model reads, answered part by part, and the answers joined: summaries of long documents."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from kzoo.tasks.parts import parts_of
from kzoo.tokenizers import Tokenizer
from kzoo.tokenizers.characters import decode

# B prompts, W parts of all prompts, C tokens of all prompts, N sequences of a prompt, L tokens of an answer

ENDS = ".!?…。！？\n"
"""Characters behind which a part may begin."""
LEAST_ROOM = 4
"""Tokens of a part that make a cut possible."""


def split(tokenizer: Tokenizer, texts: tf.Tensor, room: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts texts into as few parts as the room allows, between sentences where there are any near the place.

    The parts of a text are of like length, and joined they are the text. A cut moves back by a quarter of the room at
    most to where a sentence ends; without one it is between two tokens.

    Args:
        tokenizer: by whose tokens the room counts.
        texts: strings ``[B]``.
        room: most tokens of a part, ``LEAST_ROOM`` or more.

    Returns:
        The parts, strings ``[W]``, and of which text each is, int32 ``[W]``, ascending. Every text has one.
    """
    tokens = tokenizer.tokenize(texts, special_tokens_in_text=False)
    lengths = tf.cast(tokens.ids.row_lengths(), tf.int32)  # [B]
    slack = room // 4
    number = tf.where(lengths <= room, 1, -(-lengths // (room - slack)))  # [B], parts of each text
    row = tf.repeat(tf.range(tf.size(number)), number)  # [W]
    first_of_row = tf.cumsum(number, exclusive=True)
    index = tf.range(tf.size(row)) - tf.gather(first_of_row, row)
    offset = tf.gather(tf.cast(tokens.ids.row_starts(), tf.int32), row)
    place = offset + index * tf.gather(lengths, row) // tf.gather(number, row)  # [W], a token of all texts

    none = tf.fill([1], -room)  # behind all: where there is none before
    begins = tf.concat([_begins_sentence(texts, tokens), none], 0)
    before = tf.searchsorted(begins[:-1], place, side="right") - 1
    nearest = tf.gather(begins, tf.where(before >= 0, before, tf.size(begins) - 1))
    place = tf.where((index > 0) & (nearest > place - slack), nearest, place)

    starts = tf.concat([tf.cast(tokens.starts.flat_values, tf.int32), [0]], 0)
    begin = tf.where(index == 0, 0, tf.gather(starts, place))
    size = tf.cast(tf.strings.length(tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8"), "UTF8_CHAR"), tf.int32)
    is_last = index == tf.gather(number, row) - 1
    end = tf.where(is_last, tf.gather(size, row), tf.roll(begin, -1, 0))
    return parts_of(texts, row, begin, end), row


def _begins_sentence(texts, tokens) -> tf.Tensor:
    """The tokens of all texts, ascending int32, before which a sentence or a line ends."""
    characters = decode(texts)
    offset = tf.cast(characters.row_splits, tf.int32)
    owner = tf.cast(tokens.starts.value_rowids(), tf.int32)  # [C]
    last = tf.gather(offset, owner) + tf.cast(tokens.ends.flat_values, tf.int32) - 1
    code = tf.gather(tf.concat([characters.code_points, [0]], 0), tf.maximum(last, 0))
    wanted = tf.constant(np.array([ord(one) for one in ENDS], np.int32))
    is_end = tf.reduce_any(code[:, None] == wanted[None, :], axis=1)
    return tf.cast(tf.where(is_end)[:, 0], tf.int32) + 1


def by_parts(
    answer: Callable[..., dict[str, tf.Tensor]],
    tokenizer: Tokenizer,
    room: int,
    separator: str,
    prompt: tf.Tensor,
    knobs: Mapping[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """Answers each part of prompts ``[B]`` as a prompt of its own, and joins the answers.

    Args:
        answer: from prompts and knobs to outputs as ``kzoo.tasks.writing`` has them.
        tokenizer: by whose tokens the room counts.
        room: most tokens of a part.
        separator: what stands between the answers of two parts.
        prompt: strings ``[B]``.
        knobs: ``[B]`` or ``[1]``.
    """
    parts, row = split(tokenizer, prompt, room)
    number = tf.shape(prompt)[0]
    of_parts = {name: tf.gather(tf.broadcast_to(knob, [number]), row) for name, knob in knobs.items()}
    return joined(answer(prompt=parts, **of_parts), row, number, separator)


def joined(outputs: Mapping[str, tf.Tensor], row, number, separator: str) -> dict[str, tf.Tensor]:
    """Outputs of parts ``[W, ...]`` as those of texts ``[B, ...]``: the n-th sequence of all parts is one sequence.

    Texts are joined, tokens follow one another, counts, log-probabilities and scores are summed; a text that came to
    its limit in any part came to its limit.

    Args:
        outputs: by the names of ``kzoo.tasks.writing``.
        row: of which text each part is, int32 ``[W]``, ascending.
        number: B.
        separator: between texts.
    """
    is_many = outputs["text"].shape.rank == 2  # [W, N]
    copies = tf.shape(outputs["text"])[1] if is_many else 1
    place = tf.reshape(row[:, None] * copies + tf.range(copies)[None, :], [-1])  # [W * N], the sequence of each
    total = number * copies

    def whole(values):
        inner = tf.shape(values)[1:]
        return tf.reshape(values, tf.concat([[number, copies], inner], 0)) if is_many else values

    def flat(values):
        return tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0)) if is_many else values

    counts = flat(outputs["count"])
    order = tf.argsort(place, stable=True)

    def one_after_another(values):
        rows = tf.gather(tf.RaggedTensor.from_tensor(flat(values), counts), order)
        owners = tf.cast(tf.gather(place, order), tf.int64)
        grouped = tf.RaggedTensor.from_value_rowids(rows, owners, tf.cast(total, tf.int64))
        return whole(grouped.merge_dims(1, 2).to_tensor())

    found = {}
    for name, values in outputs.items():
        if name in ("token_ids", "log_probabilities"):
            found[name] = one_after_another(values)
        elif name == "text":
            found[name] = whole(tf.strings.unsorted_segment_join(flat(values), place, total, separator=separator))
        elif name == "finish_reason":
            cut = tf.cast(flat(values) == "length", tf.int32)
            found[name] = whole(tf.where(tf.math.unsorted_segment_max(cut, place, total) > 0, "length", "stop"))
        else:  # count, log_probability, score
            found[name] = whole(tf.math.unsorted_segment_sum(flat(values), place, total))
    return found
