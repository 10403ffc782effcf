"""Whether a SavedModel answers as the task it came from."""

# B batch

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.serving import warmup
from kzoo.serving.signatures import DEFAULT, RAW

TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 5e-2}
"""What two numbers may differ by, absolutely and relatively, by the dtype of the arithmetic."""
_NEW_TOKENS = 8  # that the example of a signature asks for when it may choose


class Verified(NamedTuple):
    """What a verification found.

    Attributes:
        examples: for each signature its rows of ``inputs`` and ``outputs``, and its ``method`` unless that is predict.
        off: the largest difference between two numbers.
        tolerance: what it might have been.
        texts: how many strings were answered, each valid UTF-8.
    """

    examples: dict[str, dict[str, Any]]
    off: float
    tolerance: float
    texts: int


def verify(
    directory: Path,
    task: Any,
    entries: Mapping[str, Any],
    traced: Mapping[str, Any],
    requests: list[warmup.Request],
) -> "Verified":
    """Loads the SavedModel, asks it, and compares every answer with the task's own.

    Numbers must lie within the tolerance of the arithmetic, in float32 also those of ``task.serve`` run operation by
    operation; text must be the same as that of the same function before it was saved, and valid UTF-8. (Of two tokens
    that are equally likely up to rounding, another order of additions may choose the other, so text is compared between
    graphs only.) The warm-up requests run too: one that failed would keep the server from loading the model.

    Returns:
        What was found.

    Raises:
        RuntimeError: an answer differs; says which, and by how much.
    """
    loaded = tf.saved_model.load(str(directory))
    within = tolerance(task)
    examples, off, texts = {}, 0.0, 0
    for name, signature in entries.items():
        inputs = example(task, signature)
        num_rows = len(next(iter(inputs.values())))
        tensors = signature.tensors(_varied(inputs, signature.defaults))
        answers = loaded.signatures[name](**tensors)
        off = max(off, _difference(name, answers, traced[name](**tensors), within))
        texts += sum(_valid(name, key, value) for key, value in answers.items())
        numbers = {key: value for key, value in answers.items() if value.dtype.is_floating}
        if numbers and name == DEFAULT and task.backbone.dtype_policy.name == "float32":
            eager = task.serve(tensors)
            off = max(off, _difference(name, numbers, {key: eager[key] for key in numbers}, within))
        outputs = {key: _plain(value[:num_rows]) for key, value in answers.items()}
        if signature.request and signature.method == "predict":
            inputs = {key: _plain(value[:num_rows]) for key, value in tensors.items()}
        examples[name] = {"inputs": inputs, "outputs": outputs}
        if signature.method != "predict":
            examples[name]["method"] = signature.method
    for request in requests:
        loaded.signatures[request.signature](**request.inputs)
    return Verified(examples, off, within, texts)


def tolerance(task: Any) -> float:
    """What two answers of the task may differ by."""
    return TOLERANCES.get(task.backbone.dtype_policy.compute_dtype, max(TOLERANCES.values()))


def distance(task: Any, other: Any) -> float:
    """The largest difference between numbers of two tasks' plain answers to the example and three texts more.

    Numbers whose shapes differ, as another text's would, are left out.
    """
    signature = next(iter(task.signatures().values()))
    tensors = signature.tensors(_varied(example(task, signature), signature.defaults))
    here, there = task.serve(tensors), other.serve(tensors)
    pairs = [(here[key], there[key]) for key in here if here[key].dtype.is_floating]
    found = [
        np.max(np.abs(one.numpy().astype("float64") - two.numpy()), initial=0.0)
        for one, two in pairs
        if one.shape == two.shape
    ]
    return float(max(found, default=0.0))


def _valid(name: str, key: str, value: tf.Tensor) -> int:
    """How many strings an output has; RuntimeError where one is not UTF-8, which would break the REST reply."""
    if value.dtype != tf.string or key.endswith(RAW):
        return 0
    texts = value.numpy().reshape(-1)
    for text in texts:
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            raise RuntimeError(
                f"Text that leaves must be valid UTF-8. Output {key} of signature {name} has {text!r}."
            ) from None
    return len(texts)


def example(task: Any, signature: Any) -> dict[str, list]:
    """The task's own example as a request to a signature: knobs at their defaults, but few new tokens.

    A text that only this signature reads is the example's first.
    """
    plain = task.example_inputs()
    if signature.request:
        return {key: list(values) for key, values in plain.items()}
    num_rows = len(next(iter(plain.values())))
    knobs = {key: np.asarray(value).reshape(-1).tolist()[0] for key, value in signature.defaults.items()}
    if "max_new_tokens" in knobs:
        knobs["max_new_tokens"] = min(knobs["max_new_tokens"], _NEW_TOKENS)
    first = next(iter(plain.values()))
    return {key: [knobs[key]] * num_rows if key in knobs else list(plain.get(key, first)) for key in signature.inputs}


def _varied(inputs: Mapping[str, list], knobs: Mapping[str, Any]) -> dict[str, list]:
    """The rows and three more: half of the first text, its first character, nothing; knobs and numbers as they are."""

    def more(first: Any) -> list:
        return [first[: len(first) // 2], first[:1], ""] if isinstance(first, str) else [first] * 3

    return {key: values + ([values[0]] * 3 if key in knobs else more(values[0])) for key, values in inputs.items()}


def _difference(name: str, answers: Mapping[str, tf.Tensor], expected: Mapping[str, tf.Tensor], within: float) -> float:
    """The largest difference between two numbers; RuntimeError where it is too large or anything else differs."""
    if set(answers) != set(expected):
        raise RuntimeError(f"Signature {name} answers {sorted(answers)}, the task {sorted(expected)}.")
    largest = 0.0
    for key, answer in answers.items():
        where = f"Output {key} of signature {name}"
        got, wanted = answer.numpy(), expected[key].numpy()
        if got.shape != wanted.shape:
            raise RuntimeError(f"{where} has shape {got.shape}, the task's own {wanted.shape}.")
        if not answer.dtype.is_floating:
            if not np.array_equal(got, wanted):
                raise RuntimeError(f"The exported model must answer as the task does. {where} differs.")
            continue
        got, wanted = got.astype("float64"), wanted.astype("float64")
        off = float(np.max(np.abs(got - wanted), initial=0.0))
        if not np.allclose(got, wanted, rtol=within, atol=within, equal_nan=True):
            raise RuntimeError(f"The exported model must answer as the task does. {where} differs by {off:.3g}.")
        largest = max(largest, off)
    return largest


def _plain(value: tf.Tensor) -> list:
    """A tensor as JSON would show it: text decoded, floats of float32's six significant digits."""
    array = value.numpy()
    if array.dtype == object:
        decoded = [text.decode("utf-8", "replace") for text in array.reshape(-1)]
        return np.array(decoded, dtype=object).reshape(array.shape).tolist()
    if value.dtype.is_floating:
        rounded = [float(f"{number:.6g}") for number in array.astype("float64").reshape(-1)]
        return np.array(rounded, dtype="float64").reshape(array.shape).tolist()
    return array.tolist()
