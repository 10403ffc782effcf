"""What a request for text may ask of ``generate``, a value a row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from kzoo.errors import UserError

# B prompts


class Knob(NamedTuple):
    """What a request may set, a value a row.

    Attributes:
        dtype: of the vector ``[B]``.
        neutral: the value that changes nothing.
        lowest: the least that makes sense, or None.
        help: what it does.
    """

    dtype: Any
    neutral: Any
    lowest: float | None
    help: str


KNOBS = {
    "max_new_tokens": Knob(tf.int32, None, 0, "most tokens to add"),
    "min_new_tokens": Knob(tf.int32, 0, 0, "tokens to add before the end token may come"),
    "temperature": Knob(tf.float32, 0.0, 0, "0 takes the likeliest token; below 1 sharpens, above 1 flattens"),
    "top_k": Knob(tf.int32, 0, 0, "draw among the k likeliest tokens; 0 for all"),
    "top_p": Knob(tf.float32, 1.0, 0, "draw among the fewest tokens whose probabilities reach p; 1 for all"),
    "min_p": Knob(tf.float32, 0.0, 0, "draw among tokens with this share of the likeliest one's probability"),
    "repetition_penalty": Knob(tf.float32, 1.0, 0, "above 1 avoids what the prompt and the text hold; 1 for none"),
    "presence_penalty": Knob(tf.float32, 0.0, None, "taken from the score of each token that the text holds"),
    "frequency_penalty": Knob(tf.float32, 0.0, None, "taken from a token's score each time that the text holds it"),
    "stop": Knob(tf.string, "", None, r"strings that end the text, one a line; \n in one is a line break"),
    "blocked_words": Knob(tf.string, "", None, "words, and sequences of words, never to write, one a line"),
    "logit_bias": Knob(tf.string, "", None, "lines of a token's id and what is added to its score"),
    "seed": Knob(tf.int32, 0, None, "the same seed gives the same text"),
}
_OF_BEAMS = ("max_new_tokens", "min_new_tokens", "repetition_penalty", "blocked_words", "logit_bias")
BEAM_KNOBS = {name: KNOBS[name] for name in _OF_BEAMS} | {
    "length_penalty": Knob(tf.float32, 1.0, None, "above 0 favours long texts, 0 short ones")
}
COMPILED_KNOBS = {name: knob for name, knob in KNOBS.items() if knob.dtype != tf.string}
"""What a request may set where XLA compiles the loop, which knows no strings."""


def read_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of all knobs but ``max_new_tokens``: those given, checked; of lists of texts their lines.

    Raises:
        UserError: a knob that does not exist, or a value that it cannot have.
    """
    unknown = sorted(set(given) - set(KNOBS))
    if unknown:
        raise UserError(f"generate has no knob {', '.join(unknown)}; it has {', '.join(KNOBS)}.")
    neutral = {name: knob.neutral for name, knob in KNOBS.items() if knob.neutral is not None}
    return neutral | {name: checked(KNOBS[name], name, value) for name, value in given.items()}


def as_lines(texts) -> str:
    """Texts as one string, a line each, which ``kzoo.tasks.lines`` reads."""
    return "\n".join(text.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t") for text in texts)


def checked(knob: Knob, name: str, value: Any) -> Any:
    """A knob's value, of its kind; a list of texts, or a mapping of token ids, as lines."""
    if knob.dtype == tf.string:
        if isinstance(value, Mapping):
            return "\n".join(f"{token} {added}" for token, added in value.items())
        return value if isinstance(value, str) else as_lines(value)
    try:
        number = knob.dtype.as_numpy_dtype(value).item()
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name} ({knob.help}) must be a number. Received {value!r}.") from None
    if number != value and knob.dtype.is_integer:
        raise UserError(f"{name} must be a whole number. Received {value!r}.")
    if knob.lowest is not None and not number >= knob.lowest:
        raise UserError(f"{name} must not be below {knob.lowest}. Received {value!r}.")
    return number


def inputs_of(knobs: Mapping[str, Knob]) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that has these knobs."""
    return {name: tf.TensorSpec([None], knob.dtype, name=name) for name, knob in knobs.items()}
