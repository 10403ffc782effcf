"""Special tokens around a text or a pair of texts, and the cut to the longest row."""

from collections.abc import Sequence

import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers import Tokenizer, Tokens

TRUNCATIONS = ("longest_first", "only_first", "only_second")

# B texts, T length


def dense(ragged: tf.RaggedTensor, length, fill=0) -> tf.Tensor:
    """Pads or cuts ragged rows ``[B, None]`` to ``[B, length]``; a length known as an int gives a static shape."""
    shape = [None, length] if isinstance(length, int) else tf.stack([-1, length])
    return ragged.to_tensor(fill, shape=shape)


def fill_empty(ragged: tf.RaggedTensor, value) -> tf.RaggedTensor:
    """Puts ``value`` into the rows ``[B, None]`` that hold nothing, so that a model has a token to read."""
    is_empty = tf.cast(ragged.row_lengths() == 0, ragged.row_splits.dtype)  # [B]
    filling = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(is_empty)], value), is_empty)
    return tf.concat([filling, ragged], axis=1)


def start_id(tokenizer: Tokenizer) -> int:
    """The token that an empty text stands for: the one that begins texts, else the one that ends them."""
    special = tokenizer.special_ids
    return special.get("bos", special.get("eos", 0))


def frame(tokens: Tokens, *, before: Sequence[int] = (), after: Sequence[int] = (), max_length: int) -> dict:
    """Cuts rows and puts special tokens before and after each.

    Args:
        tokens: ragged ``[B, None]``.
        before: ids put first.
        after: ids put last.
        max_length: most tokens of a row, the special ones included.

    Returns:
        ``token_ids``, ``starts``, ``ends`` ragged int32 ``[B, None]``, and ``row`` int32 ``[B]``. Offsets of special
        tokens are 0.

    Raises:
        UserError: ``max_length`` leaves no room for the special tokens.
    """
    room = _room(max_length, len(before) + len(after))
    num_rows = tokens.ids.nrows(out_type=tf.int32)
    columns = {
        name: tf.concat([_column(before, num_rows, real), ragged[:, :room], _column(after, num_rows, real)], axis=1)
        for name, ragged, real in _columns(tokens)
    }
    return columns | {"row": tf.range(num_rows)}


def frame_text(tokenizer: Tokenizer, texts: tf.Tensor, max_length: int) -> dict:
    """Tokenizes texts the way the tokenizer's model was trained: between the special tokens of its template.

    Where the template has none, an empty text becomes the one token of ``start_id``.

    Returns:
        As ``frame``.
    """
    tokens, template = tokenizer.tokenize(texts), tokenizer.template
    if not template.before and not template.after:
        tokens = Tokens(*(fill_empty(one, fill) for one, fill in zip(tokens, (start_id(tokenizer), 0, 0), strict=True)))
    return frame(tokens, before=template.before, after=template.after, max_length=max_length)


def frame_pair(
    tokenizer: Tokenizer,
    first: tf.Tensor,
    second: tf.Tensor,
    max_length: int,
    truncation: str = "longest_first",
) -> dict:
    """Tokenizes pairs of texts and puts both into one row, with the special tokens of the tokenizer's template.

    Args:
        tokenizer: what splits the texts.
        first: strings ``[B]``.
        second: strings ``[B]``.
        max_length: most tokens of a row, the special ones included.
        truncation: which text loses tokens from its end where a row would be too long. "longest_first": the longer one
            until both are as long, then both, the second keeping the odd one of equally long texts. "only_first" and
            "only_second": that text; the other one only when nothing of it is left, where ``tokenizers`` raises.

    Returns:
        ``token_ids``, ``starts``, ``ends`` ragged int32 ``[B, None]``, offsets into the text that a token is of;
        ``text_index`` ragged int32 ``[B, None]``: 0 and 1 for tokens of the first and the second text, -1 for special
        ones; ``segment_ids`` ragged int32 ``[B, None]`` where the template has segments; ``row`` int32 ``[B]``.

    Raises:
        UserError: ``truncation`` is another, or ``max_length`` leaves no room for the special tokens.
    """
    if truncation not in TRUNCATIONS:
        raise UserError(f"truncation must be one of {', '.join(TRUNCATIONS)}. Received {truncation!r}.")
    template = tokenizer.template
    room = _room(max_length, len(template.before) + len(template.between) + len(template.after))
    pair = [tokenizer.tokenize(first), tokenizer.tokenize(second)]
    kept = _kept(pair[0].ids.row_lengths(), pair[1].ids.row_lengths(), room, truncation)
    pair = [Tokens(*(cut(one, lengths) for one in tokens)) for tokens, lengths in zip(pair, kept, strict=True)]
    num_rows = pair[0].ids.nrows(out_type=tf.int32)

    def joined(one, other, real: bool) -> tf.RaggedTensor:
        special = (_column(ids, num_rows, real) for ids in (template.before, template.between, template.after))
        before, between, after = special
        return tf.concat([before, one, between, other, after], axis=1)

    columns = {
        name: joined(one, other, real)
        for (name, one, real), (_, other, _) in zip(*(_columns(tokens) for tokens in pair), strict=True)
    }
    if not template.before and not template.between and not template.after:
        fills = (start_id(tokenizer), 0, 0)
        columns = {name: fill_empty(column, fill) for (name, column), fill in zip(columns.items(), fills, strict=True)}
    # 0 and 1 in the places of the texts, 2 to 4 in those of the special tokens between them.
    parts = [len(template.before), kept[0], len(template.between), kept[1], len(template.after)]
    lengths = tf.stack(
        [tf.broadcast_to(tf.cast(part, tf.int64), tf.shape(kept[0])) for part in parts], axis=1
    )  # [B, 5]
    missing = columns["token_ids"].row_lengths() - tf.reduce_sum(lengths, axis=1)  # a filled row
    lengths += tf.one_hot(4, 5, dtype=tf.int64) * missing[:, tf.newaxis]
    counts = tf.reshape(lengths, [-1])

    def labels(values: Sequence[int]) -> tf.RaggedTensor:
        """One value for each of the five parts, in the places of its tokens."""
        flat = tf.repeat(tf.tile(tf.constant(values, tf.int32), [num_rows]), counts)
        return columns["token_ids"].with_values(flat)

    columns["text_index"] = labels([-1, 0, -1, 1, -1])
    if template.segments:
        columns["segment_ids"] = labels([0, 0, 0, 1, 1])
    return columns | {"row": tf.range(num_rows)}


def begin(before: Sequence[int], ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """Puts the tokens that begin a text before ids ``[B, None]``, unless a row begins with them already."""
    if not before:
        return ids
    count = len(before)
    firsts = ids.to_tensor(-1, shape=[None, None])
    firsts = tf.pad(firsts, [[0, 0], [0, count]], constant_values=-1)[:, :count]
    begun = tf.reduce_all(firsts == tf.constant(before, ids.dtype), axis=1)  # [B]
    num_rows = ids.nrows(out_type=tf.int32)
    return tf.concat([cut(_column(before, num_rows, True), tf.where(begun, 0, count)), ids], axis=1)


def _room(max_length: int, num_special: int) -> int:
    if max_length < num_special:
        raise UserError(
            f"max_length must leave room for the special tokens around a text. Received {max_length} for {num_special}."
        )
    return max_length - num_special


def _columns(tokens: Tokens) -> list[tuple[str, tf.RaggedTensor, bool]]:
    """Names of the columns, and whether special tokens show in them."""
    return [("token_ids", tokens.ids, True), ("starts", tokens.starts, False), ("ends", tokens.ends, False)]


def _column(ids: Sequence[int], num_rows: tf.Tensor, real: bool) -> tf.RaggedTensor:
    """The same ids, or as many zeros, in each row."""
    row = tf.constant(ids if real else [0] * len(ids), tf.int32, shape=[1, len(ids)])
    return tf.RaggedTensor.from_tensor(tf.tile(row, [num_rows, 1]))


def cut(ragged: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """The first tokens of each row, so many as ``lengths`` [B] says."""
    starts = ragged.row_starts()
    return tf.gather(ragged.values, tf.ragged.range(starts, starts + tf.cast(lengths, starts.dtype)))


def _kept(first: tf.Tensor, second: tf.Tensor, room: int, truncation: str) -> tuple[tf.Tensor, tf.Tensor]:
    """How many tokens remain of two texts that have so many, int64 ``[B]``."""
    if truncation == "only_first":
        kept = tf.minimum(second, room)
        return tf.minimum(first, room - kept), kept
    if truncation == "only_second":
        kept = tf.minimum(first, room)
        return kept, tf.minimum(second, room - kept)
    half, odd = (tf.constant(figure, first.dtype) for figure in divmod(room, 2))
    shorter = tf.minimum(first, second)
    longer = tf.where(shorter > room, shorter, tf.maximum(shorter, room - shorter))
    both = shorter + longer > room
    shorter = tf.where(both, half, shorter)
    longer = tf.where(both, half + odd, longer)
    is_longer = first > second
    fits = first + second <= room
    kept_first = tf.where(fits, first, tf.where(is_longer, longer, shorter))
    kept_second = tf.where(fits, second, tf.where(is_longer, shorter, longer))
    return tf.minimum(kept_first, first), tf.minimum(kept_second, second)
