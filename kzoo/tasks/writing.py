"""How ``generate`` answers requests: what each may ask, and the signatures that an export has of it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.generation import stopping
from kzoo.generation.beam import search
from kzoo.generation.controls import Controls
from kzoo.generation.decode import Decoded, decode
from kzoo.generation.grammar import Grammar
from kzoo.tasks import compiled, compiled_writing
from kzoo.tasks.chunks import by_length
from kzoo.tasks.knobs import BEAM_KNOBS, COMPILED_KNOBS, KNOBS, Knob, checked, inputs_of
from kzoo.tasks.likelihood import log_probabilities
from kzoo.tasks.lines import biases, blocked_sequences, lines
from kzoo.tasks.long_prompts import by_parts
from kzoo.tasks.task import Signature

# B prompts, N sequences of each, K beams, R = B * N rows, L most new tokens, T length, D width, V vocabulary


OUTPUTS = {
    "generate": ("text", "count", "finish_reason", "log_probability"),
    "generate_tokens": ("text", "count", "token_ids", "log_probabilities"),
}
"""What the signatures show of all that is computed."""
_ALWAYS = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "seed")
"""What decoding reads of every row, asked for or not."""
MARGIN = 8
"""Tokens before those that a stop string may take, so that what a tail loses at its start is not missed."""


class Writer:
    """Answers prompts with a ``Generate``.

    Args:
        task: a ``Generate``: its ``tokenize``, tokenizer and backbone.
        defaults: values of the knobs for requests that do not say.
        num_sequences: N, texts for each prompt.
        num_beams: K of the signature ``beam``; 1 for none.
        length_penalty: of the beams, for requests that do not say.
        grammar: what may be written at all; None for anything. Where it asks for a whole text of a pattern, stop
            strings of requests do not count, for they would cut it.
        speculates: tokens that are read ahead where a text repeats itself; 0 for none. See ``speculation``.
    """

    def __init__(
        self,
        task: Any,
        defaults: Mapping[str, Any],
        *,
        num_sequences: int = 1,
        num_beams: int = 1,
        length_penalty=1.0,
        grammar: Grammar | None = None,
        speculates: int = 0,
    ):
        self.task = task
        self.defaults = dict(defaults)
        self.num_sequences, self.num_beams, self.length_penalty = num_sequences, num_beams, float(length_penalty)
        self.grammar, self.speculates = grammar, speculates
        self._functions: dict[str, Callable] = {}

    # -- what signatures compute -----------------------------------------------------------------------------------

    def write(self, prompt, **knobs) -> dict[str, tf.Tensor]:
        """Continues prompts ``[B]``, each knob ``[B]`` or ``[1]``.

        Returns:
            ``text`` string, ``count`` int32 (tokens), ``finish_reason`` ("stop" or "length"), ``log_probability``
            float32, each ``[B]``, or ``[B, N]`` of several sequences; ``token_ids`` and ``log_probabilities`` with one
            more axis L.
        """
        given = _Batch(prompt, knobs)
        return self._write(given, *self._prompts(given))

    def continue_tokens(self, ids, lengths) -> dict[str, tf.Tensor]:
        """As ``write``, by the defaults, of prompts as ids ``[B, P]`` and how many each row has ``[B]``."""
        return self._write(_Batch(tf.fill([tf.size(lengths)], ""), self.values(KNOBS)), ids, lengths)

    def _write(self, given: "_Batch", ids, lengths) -> dict[str, tf.Tensor]:
        controls = self._controls(given)
        found = decode(
            self.task.backbone,
            ids,
            lengths,
            controls,
            end_ids=self._end_ids,
            is_over=self._is_over,
            copies=self.num_sequences,
            sees_whole_prompt=self.task.prefix_attention,
            speculates=self.speculates,
        )
        return self._shown(given, found, controls.repeated(self.num_sequences).stops)

    def write_compiled(self, prompt, **knobs) -> dict[str, tf.Tensor]:
        """As ``write`` with ``COMPILED_KNOBS``, the loop compiled by XLA; blocked words and bias are the defaults'."""
        given = _Batch(prompt, knobs)
        with tf.init_scope():
            usual = self._controls(_Batch(tf.constant([""]), self.values(KNOBS)))
        run = compiled_writing.CompiledDecoding(
            self.task.backbone,
            room=self.task.max_new_tokens,
            most=self.task.most_tokens,
            end_ids=self._end_ids,
            copies=self.num_sequences,
            sees_whole_prompt=self.task.prefix_attention,
            bias=usual.bias if self.defaults["logit_bias"] else None,
            blocked=usual.blocked if self.defaults["blocked_words"] else None,
            grammar=self.grammar,
        )
        found = run(self.task.tokenize({"prompt": given.prompt})["token_ids"], self._controls(given))
        return self._shown(given, found, None)

    def _shown(self, given: "_Batch", found: Decoded, stops) -> dict[str, tf.Tensor]:
        """What was written, as ``write`` returns it."""
        text = self.task.tokenizer.detokenize(tf.RaggedTensor.from_tensor(found.token_ids, found.counts))
        if stops is not None:
            text = tf.cond(tf.size(stops) > 0, lambda: stopping.cut(text, stops), lambda: text)
        outputs = {
            "text": text,
            "count": found.counts,
            "finish_reason": tf.where(found.ended, "stop", "length"),
            "log_probability": tf.reduce_sum(found.log_probabilities, axis=1),
            "token_ids": found.token_ids,
            "log_probabilities": found.log_probabilities,
        }
        if self.num_sequences > 1:
            outputs = {name: _rows_of_prompts(value, self.num_sequences) for name, value in outputs.items()}
        return given.without_filling(outputs)

    def search(self, prompt, length_penalty, **knobs) -> dict[str, tf.Tensor]:
        """The likeliest continuations of prompts ``[B]`` by beam search, each knob ``[B]`` or ``[1]``.

        Returns:
            ``text`` string, ``count`` int32 and ``score`` float32, each ``[B, K]``, the best first.
        """
        given = _Batch(prompt, knobs | {"length_penalty": length_penalty})
        ids, lengths = self._prompts(given)
        found = search(
            self.task.backbone,
            ids,
            lengths,
            self._controls(given),
            num_beams=self.num_beams,
            length_penalty=given.rows_of("length_penalty"),
            end_ids=self._end_ids,
            sees_whole_prompt=self.task.prefix_attention,
        )
        flat = tf.reshape(found.token_ids, [-1, tf.shape(found.token_ids)[2]])
        text = self.task.tokenizer.detokenize(tf.RaggedTensor.from_tensor(flat, tf.reshape(found.counts, [-1])))
        outputs = {"text": _rows_of_prompts(text, self.num_beams), "count": found.counts, "score": found.scores}
        return given.without_filling(outputs)

    def score(self, text, prompt) -> dict[str, tf.Tensor]:
        """How likely texts ``[B]`` are behind their prompts ``[B]`` or ``[1]``; without one, where a text begins.

        What is longer than the task's ``max_length`` is cut and does not count.

        Returns:
            ``log_probability`` float32 (its natural logarithm), ``perplexity`` float32 (of a token, 1 of none) and
            ``count`` int32 (the text's tokens), each ``[B]``.
        """
        prompt = tf.broadcast_to(prompt, tf.shape(text))
        tokens = self.task.framed(prompt, text, ends=False)

        def of_rows(some, length):
            features = self.task.pack(some, length)
            following, weights = self.task.targets({}, some)
            hidden = self.task.backbone(features, training=False)["sequence_output"]
            targets, weights = (one.to_tensor(shape=tf.stack([-1, length])) for one in (following, weights))
            each = log_probabilities(self.task.backbone, hidden, targets) * weights  # [R, T]
            return {"sum": tf.reduce_sum(each, axis=1), "count": tf.reduce_sum(weights, axis=1)}

        found = by_length(tokens, of_rows, {name: tf.TensorSpec([None]) for name in ("sum", "count")})
        return {
            "log_probability": found["sum"],
            "perplexity": tf.exp(-tf.math.divide_no_nan(found["sum"], found["count"])),
            "count": tf.cast(found["count"], tf.int32),
        }

    @property
    def _end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return () if self.task.stop_id is None else (self.task.stop_id,)

    def _prompts(self, given: "_Batch") -> tuple[tf.Tensor, tf.Tensor]:
        """Ids int32 ``[B, P]`` and lengths int32 ``[B]``."""
        ids = self.task.tokenize({"prompt": given.prompt})["token_ids"]
        return ids.to_tensor(0), tf.cast(ids.row_lengths(), tf.int32)

    def _controls(self, given: "_Batch") -> Controls:
        """What the rows ask, their strings read; None for what the signature has no input for."""
        asked: dict[str, Any] = dict.fromkeys(Controls._fields)
        for name, knob in KNOBS.items():
            if knob.dtype != tf.string and (name in given.knobs or name in _ALWAYS):
                value = given.rows_of(name, knob.neutral)
                asked[name] = value if knob.lowest is None else tf.maximum(value, tf.cast(knob.lowest, knob.dtype))
        asked["max_new_tokens"] = tf.minimum(asked["max_new_tokens"], self.task.max_new_tokens)
        if "logit_bias" in given.knobs:
            asked["bias"] = biases(given.rows_of("logit_bias"))
        if "blocked_words" in given.knobs:
            asked["blocked"] = blocked_sequences(self.task.tokenizer, given.rows_of("blocked_words"))
        if "stop" in given.knobs and not (self.grammar and self.grammar.is_whole):
            asked["stops"] = lines(given.rows_of("stop"))
        asked["grammar"] = self.grammar
        return Controls(**asked)

    def _is_over(self, tokens, count, stops):
        """Whether the last of ``count`` tokens in ``[L, R]`` hold one of the stop strings ``[R, K]``: bool ``[R]``."""
        longest = tf.reduce_max(tf.strings.length(stops))  # bytes, at least one a token
        start = tf.maximum(count - longest - MARGIN, 0)
        text = self.task.tokenizer.detokenize(tf.transpose(tokens[start:count]))
        return stopping.find(text, stops) >= 0

    def answer(self, prompt) -> tf.Tensor:
        """The plain answers to prompts ``[B]``, by the defaults: string ``[B]``, or ``[B, N]`` of several sequences."""
        if self.num_beams == 1:
            return self.function("generate")(prompt=prompt, **self.values(KNOBS))["text"]
        return self.function("beam")(prompt=prompt, **self.values(BEAM_KNOBS))["text"][:, 0]

    # -- signatures ------------------------------------------------------------------------------------------------

    def signatures(self) -> dict[str, Signature]:
        """``generate`` and ``generate_tokens`` with every knob as a vector ``[B]``, ``beam``, ``score``."""
        prompt = self.task.inputs["prompt"]
        found = {
            name: Signature(self._choice(name), {"prompt": prompt, **inputs_of(KNOBS)}, self._arrays(KNOBS))
            for name in ("generate", "generate_tokens")
        }
        if self.num_beams > 1:
            inputs = {"prompt": prompt, **inputs_of(BEAM_KNOBS)}
            found["beam"] = Signature(self.function("beam"), inputs, self._arrays(BEAM_KNOBS))
        found["score"] = Signature(
            self.function("score"),
            {"text": tf.TensorSpec([None], tf.string, name="text"), "prompt": prompt},
            {"prompt": np.array([""], object)},
        )
        return found

    def compiled_signatures(self) -> dict[str, Signature]:
        """``generate``, ``generate_tokens`` and the plain answer, the loop compiled by XLA.

        Raises:
            UserError: the task's own answers end at stop strings, for which text is read while it is written.
        """
        if self.defaults["stop"]:
            raise UserError(
                "XLA compiles no loop that looks for stop strings, and this task's answers end at such: "
                f"stop={self.defaults['stop']!r}. Export it without compiled=True (--compiled)."
            )
        prompt = self.task.inputs["prompt"]
        shapes = compiled.shapes(compiled_writing.ROWS, self.task.most_tokens)
        inputs, defaults = {"prompt": prompt, **inputs_of(COMPILED_KNOBS)}, self._arrays(COMPILED_KNOBS)
        found = {
            f"{name}{compiled.SUFFIX}": Signature(
                self._choice(name, f"generate{compiled.SUFFIX}"), inputs, defaults, shapes=shapes
            )
            for name in ("generate", "generate_tokens")
        }
        if self.num_beams == 1:

            def answer(prompt):
                values = self.values(COMPILED_KNOBS)
                return {"text": self.function(f"generate{compiled.SUFFIX}")(prompt=prompt, **values)["text"]}

            found[f"serving_default{compiled.SUFFIX}"] = Signature(answer, {"prompt": prompt}, shapes=shapes)
        return found

    def _choice(self, name: str, function: str = "generate") -> Callable[..., dict[str, tf.Tensor]]:
        """What a signature shows of all that is computed; the loop is one function for all that run it."""

        def shown(**inputs):
            return {key: value for key, value in self.function(function)(**inputs).items() if key in OUTPUTS[name]}

        return shown

    def function(self, name: str) -> Callable[..., dict[str, tf.Tensor]]:
        """``generate``, ``generate_xla``, ``beam`` or ``score`` as a ``tf.function`` of vectors, traced once."""
        if name not in self._functions:
            text = tf.TensorSpec([None], tf.string)
            calls: dict[str, tuple[Callable, dict]] = {
                "generate": (self.write, {"prompt": text} | inputs_of(KNOBS)),
                f"generate{compiled.SUFFIX}": (self.write_compiled, {"prompt": text} | inputs_of(COMPILED_KNOBS)),
                "beam": (self.search, {"prompt": text} | inputs_of(BEAM_KNOBS)),
                "score": (self.score, {"prompt": text, "text": text}),
            }
            call, specs = calls[name]
            if self.task.answers_in_parts and name != "score":
                call = functools.partial(self._by_parts, call)
            function = tf.function(lambda given: call(**given), input_signature=[specs], autograph=False)
            self._functions[name] = lambda **given: function({key: given[key] for key in specs})
        return self._functions[name]

    def _by_parts(self, call, prompt, **knobs) -> dict[str, tf.Tensor]:
        task = self.task
        return by_parts(call, task.tokenizer, task.room_of_prompt, task.parts_joined_by, prompt, knobs)

    def values(self, knobs: Mapping[str, Knob] = KNOBS, /, **given) -> dict[str, tf.Tensor]:
        """Every one of the knobs as a vector ``[1]``: as given, else the default."""
        unknown = sorted(set(given) - set(knobs))
        if unknown:
            what = "generate" if knobs is KNOBS else "A beam search"
            raise UserError(f"{what} has no knob {', '.join(unknown)}; it has {', '.join(knobs)}.")
        most = self.task.max_new_tokens
        if given.get("max_new_tokens", 0) > most:
            raise UserError(f"max_new_tokens must not exceed the task's {most}. Received {given['max_new_tokens']}.")
        if given.get("stop") and self.grammar and self.grammar.is_whole:
            raise UserError("stop cannot cut an answer that is held to a pattern or to choices. Leave it out.")
        values = self._defaults | given
        return {name: tf.constant([checked(knob, name, values[name])], knob.dtype) for name, knob in knobs.items()}

    @property
    def _defaults(self) -> dict[str, Any]:
        return self.defaults | {"length_penalty": self.length_penalty}

    def options(self) -> dict[str, Any]:
        """What a task's options say of it, where that is not the default."""
        found = {
            "num_sequences": (self.num_sequences, 1),
            "num_beams": (self.num_beams, 1),
            "length_penalty": (self.length_penalty, 1.0),
            "speculates": (self.speculates, 0),
        }
        return {name: value for name, (value, usual) in found.items() if value != usual}

    def forget_traces(self) -> None:
        """Lets everything be traced anew."""
        self._functions = {}

    def _arrays(self, knobs: Mapping[str, Knob]) -> dict[str, np.ndarray]:
        values = self._defaults
        return {
            name: np.array([values[name]], object if knob.dtype == tf.string else knob.dtype.as_numpy_dtype)
            for name, knob in knobs.items()
        }


class _Batch:
    """Prompts ``[B]`` and knobs; no prompts are read as one empty prompt, whose answer is dropped."""

    def __init__(self, prompt, knobs: Mapping[str, tf.Tensor]):
        self._size = tf.shape(prompt)[0]
        self._missing = tf.cast(self._size == 0, tf.int32)
        self._rows = self._size + self._missing
        self.knobs = knobs
        self.prompt = tf.concat([prompt, tf.fill([self._missing], "")], 0)

    def rows_of(self, name: str, otherwise=None) -> tf.Tensor:
        """A value for each prompt."""
        value = self.knobs[name] if name in self.knobs else tf.constant([otherwise], KNOBS[name].dtype)
        filling = tf.fill([self._missing], tf.constant("" if value.dtype == tf.string else 0, value.dtype))
        return tf.broadcast_to(tf.concat([value, filling], 0)[: self._rows], [self._rows])

    def without_filling(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs of the prompts that were given."""
        return {name: value[: self._size] for name, value in outputs.items()}


def _rows_of_prompts(value, count: int) -> tf.Tensor:
    """``[B * N, ...]`` as ``[B, N, ...]``."""
    return tf.reshape(value, tf.concat([[-1, count], tf.shape(value)[1:]], 0))
