"""A task's signature as the function that a SavedModel carries: named, batched, and legal for TensorFlow Serving.

The server joins requests only where every input and output has a batch dimension, copies strings raw into JSON, and
knows inputs and outputs by name. So: every input is ``[B, ...]`` under its own name, knobs (inputs with a default) too;
every output is ``[B, ...]`` under its own name; every string that leaves is valid UTF-8.
"""

# B batch (rows of the request)

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

DEFAULT = "serving_default"
RAW = "_bytes"  # outputs whose name ends so travel base64-coded over REST and may hold any bytes


def trace(name: str, signature: Any) -> tf.types.experimental.PolymorphicFunction:
    """One signature (``function``, ``inputs``, ``defaults``) as a ``tf.function`` traced once.

    ``signature.function`` takes tensors ``[B, ...]`` by name and returns a dict of dense tensors ``[B, ...]``.
    Defaults become ``SignatureDef.defaults``, of shape ``[1, ...]``: over gRPC an input with a default may be left out
    of a request of one row. A knob of one row holds for every row. Raises ValueError where the contract is broken.
    """
    specs = _input_specs(name, signature)
    defaults = {key: _default(name, key, value, specs) for key, value in signature.defaults.items()}

    def answers(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = signature.function(**_whole_batch(inputs, defaults))
        return {key: _output(name, key, value) for key, value in outputs.items()}

    # tf.saved_model.save traces a function anew; so it is given one that only calls what is traced already.
    traced = tf.function(answers, input_signature=[dict(specs)], autograph=False).get_concrete_function()

    def answer(*positional: tf.Tensor, **named: tf.Tensor) -> dict[str, tf.Tensor]:
        return traced(dict(zip(specs, positional, strict=False)) | named)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    answer.__name__ = name
    # tf.saved_model.save takes input names and defaults from the Python signature of the function.
    answer.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(key, kind, default=defaults.get(key, inspect.Parameter.empty)) for key in specs]
    )
    function = tf.function(answer, input_signature=list(specs.values()), autograph=False)
    _check_outputs(name, function.get_concrete_function())
    return function


def _input_specs(name: str, signature: Any) -> dict[str, tf.TensorSpec]:
    unknown = set(signature.defaults) - set(signature.inputs)
    if unknown:
        raise ValueError(f"Every default must belong to an input. Signature {name!r} lacks {sorted(unknown)}.")
    if not set(signature.inputs) - set(signature.defaults):
        raise ValueError(f"One input at least must have no default. Signature {name!r} has none.")
    # Python's order of parameters: those without a default first.
    ordered = sorted(signature.inputs.items(), key=lambda item: item[0] in signature.defaults)
    for key, spec in ordered:
        if not key.isidentifier():
            raise ValueError(f"The name of an input must be a Python identifier. Signature {name!r} has {key!r}.")
        if spec.shape.rank is None or spec.shape.rank < 1 or spec.shape[0] is not None:
            raise ValueError(
                f"Every input of a served signature must be [None, ...]: the first dimension is the batch. "
                f"Input {key!r} of signature {name!r} has shape {spec.shape}."
            )
    return {key: tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in ordered}


def _default(name: str, key: str, value: Any, specs: Mapping[str, tf.TensorSpec]) -> tf.Tensor:
    """The default ``value`` of one row as a constant ``[1, ...]``."""
    spec = specs[key]
    tensor = tf.constant(value, spec.dtype)
    if tensor.shape.rank == spec.shape.rank - 1:
        tensor = tensor[None]
    if tensor.shape.rank != spec.shape.rank or tensor.shape[0] != 1:
        raise ValueError(
            f"The default of an input must be one row. Input {key!r} of signature {name!r} is {spec.shape}, "
            f"its default {tensor.shape}."
        )
    return tensor


def _whole_batch(inputs: dict[str, tf.Tensor], defaults: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Knobs of one row, as a default left out of a request is, repeated for each of the B rows."""
    if not defaults:
        return inputs
    leader = next(key for key in inputs if key not in defaults)
    rows = tf.shape(inputs[leader])[0]

    def repeated(key: str, knob: tf.Tensor) -> tf.Tensor:
        count = tf.shape(knob)[0]
        message = f"{key} must have one row, or as many as {leader}"
        with tf.control_dependencies([tf.debugging.Assert((count == 1) | (count == rows), [message, count, rows])]):
            whole = tf.repeat(knob, tf.where(count == 1, rows, 1), axis=0)
        whole.set_shape([None, *knob.shape[1:]])
        return whole

    return {key: repeated(key, value) if key in defaults else value for key, value in inputs.items()}


def _output(name: str, key: str, value: Any) -> tf.Tensor:
    if not isinstance(value, tf.Tensor):
        raise ValueError(
            f"Every output of a served signature must be a dense tensor. Output {key!r} of signature {name!r} is a "
            f"{type(value).__name__}."
        )
    if value.dtype == tf.string and not key.endswith(RAW):
        value = tf.strings.unicode_transcode(value, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD)
    return tf.identity(value, name=key)


def _check_outputs(name: str, concrete: Any) -> None:
    if not concrete.structured_outputs:
        raise ValueError(f"A served signature must have an output. Signature {name!r} has none.")
    for key, spec in concrete.structured_outputs.items():
        if spec.shape.rank == 0 or (spec.shape.rank and spec.shape[0] is not None):
            raise ValueError(
                f"Every output of a served signature must be [None, ...]: the first dimension is the batch. "
                f"Output {key!r} of signature {name!r} has shape {spec.shape}."
            )
