"""How much each token has to do with an answer: integrated gradients, inside the graph (Sundararajan et al. 2017).

The answer's score is followed from a baseline, a text of as many tokens that say nothing, to the text itself, along a
straight line through the token embedding's output; a token's attribution is what its vector's change adds to the score
on the way. Tokens that stand for no character of a text (those that begin and end it) are in the baseline as they are.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tasks.chunks import by_length
from kzoo.tasks.framing import dense
from kzoo.tasks.parts import dense_rows, parts_of
from kzoo.tasks.signature import Signature
from kzoo.tokenizers.characters import positions_of

if TYPE_CHECKING:
    from kzoo.tasks.text_head import TextHead

# B texts or pairs, S tokens of the text that has most, P places of the longest row, L blocks, N heads
# T length of a row, E width of the token embedding, K steps, R points of the line at once

NAME = "explain"
WITH_KNOBS = "explain_options"
INTEGRATED, TIMES_INPUT = "integrated_gradients", "gradient_times_input"
METHODS = (INTEGRATED, TIMES_INPUT)
BASELINES = ("zero", "pad", "mask")
MOST_STEPS = 512
_TOKENS = 2048  # at once, over the points of the line: bounds the memory, and keeps the cores busy
_PASSES = 3  # of the model, in the work of a pass forward and back


class Explainer:
    """Attributes the answers of a task to the tokens of its texts.

    Args:
        task: a ``Classify`` or a ``Regress``.
        steps: points of the line at which the gradient is taken, K: those of Gauss and Legendre.
        baseline: the vector of a token that says nothing: "zero" (as the paper proposes), or that of the token "pad" or
            "mask".
        attention: whether answers hold the attention's maps, too.

    Raises:
        UserError: an unknown baseline, or one whose token the tokenizer lacks; steps out of range.

    Answers: ``score`` and ``baseline_score`` float32 ``[B]``, what is explained of the text and of the baseline;
    ``gap`` ``[B]``, what is left of ``score - baseline_score`` when all attributions are taken from it; of the tokens
    ``token`` string, ``attribution`` float32, ``start`` and ``end`` int32 ``[B, S]`` (code points of the text, the end
    exclusive) with ``count`` int32 ``[B]``; of pairs ``text_index`` int32 ``[B, S]``, 0 or 1. A classifier has
    ``label`` string ``[B]``, too, and its score is the probability of that. With attention ``attention`` float32 ``[B,
    L, P, P]``, the mean over the heads of each block, whose rows look at its columns, and ``place`` int32 ``[B, S]``,
    where a token stands in them.
    """

    def __init__(self, task: "TextHead", *, steps: int = 32, baseline: str = "zero", attention: bool = False):
        if baseline not in BASELINES:
            raise UserError(f"baseline must be one of {', '.join(BASELINES)}. Received {baseline!r}.")
        if baseline != "zero" and baseline not in task.tokenizer.special_ids:
            raise UserError(f"The tokenizer of {task.pretrained.source} has no {baseline} token. Use baseline zero.")
        if not 1 <= steps <= MOST_STEPS:
            raise UserError(f"steps must lie between 1 and {MOST_STEPS}. Received {steps}.")
        self.task = task
        self.steps = steps
        self.baseline = baseline
        self.attention = attention
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self._points = tf.constant([*((nodes + 1) / 2), 1.0], tf.float32)  # [K + 1], the last for the plain gradient
        self._weights = tf.constant([*(weights / 2), 1.0], tf.float32)

    def signatures(self) -> dict[str, Signature]:
        """``explain`` takes texts alone; ``explain_options`` what is to be explained and how, with defaults."""
        task = self.task
        knobs = dict.fromkeys(["target", "method"] if task.explained_labels else ["method"], "")
        knobs["method"] = INTEGRATED
        specs = {name: tf.TensorSpec([None], tf.string, name) for name in knobs}
        passes = 2 + _PASSES * self.steps
        return {
            NAME: Signature(lambda **inputs: self.answer(inputs), task.inputs, passes=passes),
            WITH_KNOBS: Signature(
                lambda **inputs: self.answer(inputs), task.inputs | specs, defaults=knobs, passes=passes
            ),
        }

    def answer(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Explains texts.

        Args:
            inputs: those of the task ``[B]`` and, if need be, ``target``, the label that is explained (by default "",
                the likeliest), and ``method``, one of ``METHODS``, strings ``[B]``.
        """
        task = self.task
        tokens = task.tokenize({name: inputs[name] for name in task.inputs})
        number = tf.size(tokens["row"])
        target, plain = self._asked(inputs, number)
        longest = tf.cast(tokens["token_ids"].bounding_shape(1), tf.int32)
        specs: dict[str, tf.TensorSpec] = {
            "attribution": tf.TensorSpec([None, None], tf.float32),
            "baseline_score": tf.TensorSpec([None], tf.float32),
            "score": tf.TensorSpec([None], tf.float32),
            "target": tf.TensorSpec([None], tf.int32),
        }
        if self.attention:
            blocks = len(task.backbone.blocks)
            specs["attention"] = tf.TensorSpec([None, blocks, None, None], tf.float32)

        def run(some: dict[str, Any], length: tf.Tensor) -> dict[str, tf.Tensor]:
            features = task.pack(some, length)
            found = self._attribute(features, some, length)
            if self.attention:
                found["attention"] = self._look(features, longest - length)
            return found

        # a row at a time: its points are a batch of equal lengths
        found = by_length(tokens | {"target": target, "plain": plain}, run, specs, rows=1)
        answers = {"score": found["score"], "baseline_score": found["baseline_score"]}
        answers["gap"] = found["score"] - found["baseline_score"] - tf.reduce_sum(found["attribution"], axis=1)
        if task.explained_labels:
            answers["label"] = tf.gather(tf.constant(task.explained_labels), found["target"])
        if self.attention:
            answers["attention"] = found["attention"]
        return answers | self._tokens(inputs, tokens, found["attribution"], number)

    def _asked(self, inputs, number) -> tuple[tf.Tensor, tf.Tensor]:
        """Number of the label to explain (-1: the likeliest), and whether the plain gradient is asked for, ``[B]``."""
        target = tf.fill([number], -1)
        plain = tf.zeros([number], tf.bool)
        labels = self.task.explained_labels
        if "target" in inputs and labels:
            is_label = inputs["target"][:, tf.newaxis] == tf.constant(labels)  # [B, C]
            known = tf.reduce_any(is_label, axis=1)
            with tf.control_dependencies([_all(known | (inputs["target"] == ""), "target", ["", *labels], inputs)]):
                target = tf.where(known, tf.argmax(is_label, axis=1, output_type=tf.int32), -1)
        if "method" in inputs:
            known = tf.reduce_any(inputs["method"][:, tf.newaxis] == tf.constant(METHODS), axis=1)
            with tf.control_dependencies([_all(known, "method", METHODS, inputs)]):
                plain = inputs["method"] == TIMES_INPUT
        return target, plain

    def _attribute(self, features, some, length) -> dict[str, tf.Tensor]:
        """Of one row: scores and target ``[1]``, attributions ``[1, T]``."""
        task = self.task
        given = tf.cast(task.backbone.token_embedding(features["token_ids"]), tf.float32)  # [1, T, E]
        speaks = dense(some["ends"], length) > 0  # [1, T]
        base = tf.where(speaks[..., tf.newaxis], self._nothing(), given)
        way = given - base

        def scores(vectors: tf.Tensor, target: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            count = tf.shape(vectors)[0]
            logits = task.logits_of_vectors(
                {name: tf.repeat(value, count, axis=0) for name, value in features.items()}, vectors
            )
            logits = tf.cast(logits, tf.float32)
            if target is None:
                target = tf.where(some["target"] < 0, task.likeliest(logits[:1]), some["target"])
            return task.explained_score(logits, tf.repeat(target, count)), target

        ends, target = scores(tf.concat([given, base], axis=0), None)
        is_plain = tf.reduce_any(some["plain"])
        first, last = tf.where(is_plain, self.steps, 0), tf.where(is_plain, self.steps + 1, self.steps)
        last = tf.where(tf.size(target) > 0, last, first)  # an empty batch has no line
        at_once = tf.clip_by_value(_TOKENS // length, 1, self.steps)

        def body(place, total):
            stop = tf.minimum(place + at_once, last)
            vectors = base + self._points[place:stop, tf.newaxis, tf.newaxis] * way  # [R, T, E]
            with tf.GradientTape() as tape:
                tape.watch(vectors)
                mean = tf.reduce_sum(scores(vectors, target)[0] * self._weights[place:stop])
            return stop, total + tf.reduce_sum(tape.gradient(mean, vectors), axis=0, keepdims=True)

        _, gradient = tf.while_loop(
            lambda place, _: place < last, body, (first, tf.zeros_like(way)), parallel_iterations=1
        )
        return {
            "attribution": tf.reduce_sum(way * gradient, axis=-1),
            "baseline_score": ends[1:],
            "score": ends[:1],
            "target": target,
        }

    def _nothing(self) -> tf.Tensor:
        """The vector of a token that says nothing."""
        if self.baseline == "zero":
            return tf.constant(0.0)
        token = tf.constant([[self.task.tokenizer.special_ids[self.baseline]]])
        return tf.cast(self.task.backbone.token_embedding(token), tf.float32)  # [1, 1, E]

    def _look(self, features, missing) -> tf.Tensor:
        """The attention of one row, the mean over heads, with zeros behind and below: ``[1, L, P, P]``."""
        maps = [tf.reduce_mean(one, axis=1) for one in self.task.backbone.attention_weights(features)]
        return tf.pad(tf.stack(maps, axis=1), [[0, 0], [0, 0], [0, missing], [0, missing]])

    def _tokens(self, inputs, tokens, attribution, number) -> dict[str, tf.Tensor]:
        """Those that stand for characters of a text, as rows of the answer."""
        ends = tokens["ends"]
        of = positions_of(ends.flat_values > 0)
        row = tf.gather(tf.cast(ends.value_rowids(), tf.int32), of)
        place = tf.cast(of, tf.int32) - tf.gather(tf.cast(ends.row_starts(), tf.int32), row)
        start, end = (tf.gather(tokens[name].flat_values, of) for name in ("starts", "ends"))
        columns = {"start": start, "end": end}
        if self.task.pair:
            columns["text_index"] = tf.gather(tokens["text_index"].flat_values, of)
            texts = tf.concat([inputs["text"], inputs["text_pair"]], axis=0)
            columns["token"] = parts_of(texts, row + number * columns["text_index"], start, end)
        else:
            columns["token"] = parts_of(inputs["text"], row, start, end)
        columns["attribution"] = tf.gather_nd(attribution, tf.stack([row, place], axis=1))
        if self.attention:
            columns["place"] = place
        return dense_rows(row, number, columns)


def _all(known: tf.Tensor, name: str, choices, inputs) -> tf.Operation:
    listed = ", ".join(repr(one) for one in choices)
    return tf.debugging.Assert(tf.reduce_all(known), [f"{name} must be one of {listed}. Received", inputs[name]])


def as_dict(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The explanation of one text, from what the served model answers: its tokens as dicts, without the padding."""
    of_tokens = [name for name in ("token", "attribution", "start", "end", "text_index", "place") if name in answer]
    columns = [answer[name][: answer["count"]] for name in of_tokens]
    tokens = [dict(zip(of_tokens, values, strict=True)) for values in zip(*columns, strict=True)]
    whole = [name for name in ("label", "score", "baseline_score", "gap") if name in answer]
    found = {name: answer[name] for name in whole} | {"tokens": tokens}
    if "attention" in answer:
        found["attention"] = answer["attention"]
    return found
