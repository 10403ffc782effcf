"""What a SavedModel offers: its signatures, as requests need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kzoo.serving.server.errors import StatusError, invalid
from kzoo.serving.tensors import BY_NUMBER, DataType, dtype_of, to_array

DEFAULT = "serving_default"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: aliases to tensor names and element types, defaults, and what the proto says in full.

    ``refusal`` is why every request to it fails (a function that must be compiled where XLA is off).
    """

    name: str
    definition: Any
    inputs: dict[str, DataType]
    tensors: dict[str, str]
    outputs: dict[str, str]
    defaults: dict[str, np.ndarray]
    refusal: StatusError | None = None
    feeds: tuple[tuple[int, str, DataType], ...] = field(default=())

    def feed(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays by tensor name, from arrays by alias; refuses another element type with the genuine message."""
        fed = {}
        for position, alias, dtype in self.feeds:
            array = inputs[alias]
            got = dtype_of(array)
            if got is not dtype:
                # Said by the session of the genuine server, which numbers the tensors by their sorted names.
                raise invalid(f"Expects arg[{position}] to be {dtype.name} but {got.name} is provided")
            fed[self.tensors[alias]] = array
        return fed


def read(name: str, definition: Any, *, refusal: StatusError | None = None) -> Signature:
    """A signature from its ``SignatureDef``. Inputs of a type JSON and gRPC cannot carry (a resource) are left out."""
    inputs = {
        alias: BY_NUMBER[info.dtype] for alias, info in sorted(definition.inputs.items()) if info.dtype in BY_NUMBER
    }
    tensors = {alias: info.name for alias, info in sorted(definition.inputs.items())}
    in_order = sorted(inputs, key=tensors.__getitem__)
    return Signature(
        name=name,
        definition=definition,
        inputs=inputs,
        tensors=tensors,
        outputs={alias: info.name for alias, info in sorted(definition.outputs.items())},
        defaults={alias: to_array(proto) for alias, proto in definition.defaults.items()},
        refusal=refusal,
        feeds=tuple((position, alias, inputs[alias]) for position, alias in enumerate(in_order)),
    )
