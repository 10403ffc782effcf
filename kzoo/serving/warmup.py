"""Requests that a server runs when it loads a model, so that no user pays for the first call of a shape.

TensorFlow optimizes a function and allocates its buffers at the first call, and again for new shapes. The server
replays ``assets.extra/tf_serving_warmup_requests``, a TFRecord file of at most 1,000 ``PredictionLog``; when one fails,
the model does not load.
"""

# B batch

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.serving import saved_model

_SHORT = {"max_new_tokens": 2}  # a loop that ran twice is as warm as one that ran a hundred times
_STEP = 8  # a decoding step reads all weights for one token: it takes as long as so many tokens of a prompt


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which requests to make: each batch size and each length once, then their other pairs while there is work left.

    A signature that decodes a fixed number of tokens, or explains answers, takes long whatever it is asked, so it gets
    one request, and more only while there is work left.

    Attributes:
        batch_sizes: rows of a request; the sizes that the server's batching pads to.
        lengths: tokens of each row's text, special tokens included; those the model cannot read are left out.
        work: floating-point operations for each signature, beyond which nothing is added.
        compiled_work: the same for a compiled signature, each of whose programs takes seconds at its first request.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    work: float = 1e11
    compiled_work: float = 1e12

    def __post_init__(self):
        for name in ("batch_sizes", "lengths"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} must hold whole numbers from 1. Received {values}.")


DEFAULT = Plan()


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request: every input given, knobs too, so that it is valid whether or not a server knows defaults."""

    signature: str
    inputs: Mapping[str, tf.Tensor]
    rows: int
    length: int


def requests(task: Any, entries: Mapping[str, Any], plan: Plan) -> list[Request]:
    """The requests of a plan for a task and its signatures.

    Compiled signatures get none here (see ``compiled_requests``): a server without its XLA flag would fail at them, and
    not load the model.
    """
    texts = _texts(task, plan.lengths)
    parameters = sum(int(np.prod(weight.shape)) for weight in task.model.weights)
    made = []
    for name, signature in entries.items():
        if name.endswith(saved_model.COMPILED):
            continue
        new_tokens = 0 if set(_SHORT) & set(signature.inputs) else getattr(task, "max_new_tokens", 0)
        left = plan.work
        for number, (rows, length) in enumerate(_shapes(plan.batch_sizes, tuple(texts))):
            left -= 2 * parameters * rows * (length + _STEP * new_tokens) * signature.passes
            takes_long = new_tokens or signature.passes > 1
            is_needed = number == 0 or (not takes_long and (rows == min(plan.batch_sizes) or length == min(texts)))
            if left >= 0 or is_needed:
                inputs = _inputs(task, signature, texts[length], rows)
                made.append(Request(signature=name, inputs=inputs, rows=rows, length=length))
    return _few(made)


def compiled_requests(task: Any, entries: Mapping[str, Any], plan: Plan) -> list[Request]:
    """Requests for the programs of the compiled signatures, small ones first, while there is work left.

    Where several signatures run the same programs, the one that may ask for few tokens is asked for all of them.
    """
    found = {name: signature for name, signature in entries.items() if signature.shapes}
    parameters = sum(int(np.prod(weight.shape)) for weight in task.model.weights)
    short = [name for name, signature in found.items() if set(_SHORT) & set(signature.inputs)]
    made = []
    for name, signature in found.items():
        lengths = sorted({length for _, length in signature.shapes})
        texts = {length: next(iter(_texts(task, (length,)).values())) for length in lengths}
        left = plan.compiled_work
        for number, (rows, length) in enumerate(sorted(signature.shapes, key=lambda shape: shape[0] * shape[1])):
            left -= 2 * parameters * rows * length
            if number == 0 or (left >= 0 and name in (short[:1] or found)):
                inputs = _inputs(task, signature, texts[length], rows)
                made.append(Request(signature=name, inputs=inputs, rows=rows, length=length))
    return _few(made)


def _few(made: list[Request]) -> list[Request]:
    most = saved_model.MOST_RECORDS
    if len(made) > most:
        raise ValueError(f"A model may bring at most {most} warm-up requests. The plan makes {len(made)}.")
    return made


def _shapes(batch_sizes: tuple[int, ...], lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of rows and length: first those that show each size and each length once, then the others by their size."""
    few, short = min(batch_sizes), min(lengths)
    pairs = [(rows, length) for rows in batch_sizes for length in lengths]
    return sorted(pairs, key=lambda pair: (pair[0] != few and pair[1] != short, pair[0] * pair[1]))


def write(path: Path, model: str, these: list[Request]) -> None:
    """Writes the requests as TensorFlow Serving reads them; no file when there are none."""
    from tensorflow_serving.apis import prediction_log_pb2

    if not these:
        return
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in these:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model
            request.model_spec.signature_name = one.signature
            for key, value in one.inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString(deterministic=True))


def read(path: Path) -> Iterator[Any]:
    """The ``PredictRequest`` of each record."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def _inputs(task: Any, signature: Any, text: str, rows: int) -> dict[str, tf.Tensor]:
    if signature.request:
        return signature.tensors({key: [text] * rows for key in task.example_inputs()})
    inputs = {}
    for key, spec in signature.inputs.items():
        if key in signature.defaults:
            value = _SHORT.get(key, np.asarray(signature.defaults[key]).reshape(-1)[0])
        elif spec.dtype == tf.string:
            value = text
        else:
            value = task.example_inputs()[key][0]
        inputs[key] = tf.constant([value] * rows, spec.dtype)
    return inputs


def _texts(task: Any, lengths: tuple[int, ...]) -> dict[int, str]:
    """Number of tokens to a text that has so many, or as few less as whole words allow."""
    example = task.example_inputs()
    text = next((values[0] for values in example.values() if isinstance(values[0], str)), "")
    words = text.split() or ["word"]

    def said(count: int) -> str:
        return " ".join(words[number % len(words)] for number in range(count))

    def num_tokens(count: int) -> int:
        inputs = {key: tf.constant([said(count)]) for key in example}
        return int(task.tokenize(inputs)["token_ids"].row_lengths()[0])

    texts = {}
    for length in sorted(length for length in lengths if length <= task.max_length):
        few, many = 1, length + 1  # a word is a token at least
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (middle, many) if num_tokens(middle) <= length else (few, middle)
        texts[num_tokens(few)] = said(few)
    return texts
