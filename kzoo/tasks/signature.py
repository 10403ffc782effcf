"""One entry of an exported model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class Signature:
    """A function that a server offers under a name.

    Attributes:
        function: takes the inputs by name, returns named outputs.
        inputs: name to spec; the first axis is the batch.
        defaults: name to value ``[1]`` of inputs that a gRPC client may leave out.
        request: from the task's own inputs, lists of rows by name, to those of this signature, where they differ.
        method: the API by which it is asked: ``predict``, ``classify`` or ``regress``.
        shapes: of one that XLA compiles the rows and tokens of each of its programs, which warm-up asks for.
        passes: how often an answer takes the work of a plain pass over its text.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]
    defaults: dict[str, Any] = field(default_factory=dict)
    request: Callable[[Mapping[str, list]], Mapping[str, Any]] | None = None
    method: str = "predict"
    shapes: tuple[tuple[int, int], ...] = ()
    passes: int = 1

    def traced(self) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
        """The function as a graph, for calls from Python; takes the inputs as a dict."""
        specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in self.inputs.items()}
        return tf.function(lambda inputs: self.function(**inputs), input_signature=[specs], autograph=False)

    def tensors(self, rows: Mapping[str, list]) -> dict[str, tf.Tensor]:
        """A request: rows of the signature's own inputs or, where it has a ``request``, of the task's."""
        values = self.request(rows) if self.request else rows
        return {key: tf.constant(value, self.inputs[key].dtype) for key, value in values.items()}
