"""Several texts in one string, one a line: so that each request brings its own number of them.

A server joins the requests of a batch only where their inputs have the same shape; a list of stop strings has not.
"""

import tensorflow as tf

from kzoo.generation.blocked import NOTHING, Bias, aligned_right
from kzoo.tokenizers import Tokenizer

# B texts, K lines of the one with most, W tokens

_BIAS = r"\s*\d{1,9}\s+[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?\s*"


def lines(texts) -> tf.Tensor:
    r"""The lines of texts ``[B]``, strings ``[B, K]``; empty ones at the end of rows with fewer.

    Empty lines do not count. ``\n`` written with a backslash is a line break within a line, ``\t`` a tabulator, two
    backslashes are one.
    """
    parts = tf.strings.split(tf.strings.regex_replace(texts, r"\r\n?", "\n"), "\n")
    parts = tf.ragged.boolean_mask(parts, parts != "")
    found = parts.flat_values
    for written, meant in ((r"\\\\", "\x00"), (r"\\n", "\n"), (r"\\t", "\t"), (r"\x{0}", r"\\")):
        found = tf.strings.regex_replace(found, written, meant)
    return parts.with_values(found).to_tensor("")


def blocked_sequences(tokenizer: Tokenizer, texts) -> tf.Tensor:
    """Ids of the words in the lines of texts ``[B]``, each at the start of a text and behind a space.

    Returns:
        int32 ``[B, 2 K, W]`` as ``kzoo.generation.blocked`` takes them.
    """
    words = lines(texts)  # [B, K]

    def tokenized():
        both = tf.concat([words, tf.where(words == "", "", tf.strings.join([" ", words]))], axis=1)
        ids = tokenizer.tokenize(tf.reshape(both, [-1]), special_tokens_in_text=False).ids
        sequences = tf.RaggedTensor.from_uniform_row_length(
            ids, tf.shape(both, tf.int64)[1], nrows=tf.shape(both, tf.int64)[0]
        )
        return aligned_right(sequences)

    nothing = tf.fill([tf.shape(words)[0], 0, 1], NOTHING)
    return tf.cond(tf.size(words) > 0, tokenized, lambda: nothing)


def biases(texts) -> Bias:
    """Of lines such as ``50256 -2.5``: a token's id and what is added to its score; other lines do not count."""
    found = lines(texts)
    found = tf.where(tf.strings.regex_full_match(found, _BIAS), tf.strings.strip(found), f"{NOTHING} 0")
    return Bias(
        ids=tf.strings.to_number(tf.strings.regex_replace(found, r"\s.*$", ""), tf.int32),
        values=tf.strings.to_number(tf.strings.regex_replace(found, r"^\S+\s+", ""), tf.float32),
    )
