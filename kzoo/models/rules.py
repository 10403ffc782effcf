"""The vocabulary in which a family says how its published tensors map onto kzoo's weights.

A rule names a published tensor, the weight or weights it fills, and an invertible transform between them. ``{i}``
stands for the number of the block. Targets are paths of attributes: ``blocks/{i}/attention/query/kernel``.
"""

from dataclasses import dataclass

import numpy as np


class Identity:
    """The tensor as it is."""

    def forward(self, tensor):
        """Published to kzoo: one array to a tuple of arrays."""
        return (tensor,)

    def backward(self, tensors):
        """Kzoo to published: a tuple of arrays to one array."""
        return tensors[0]


class Transpose(Identity):
    """A matrix whose axes are exchanged: PyTorch's ``Linear`` keeps ``[O, I]``, kzoo ``[I, O]``."""

    def forward(self, tensor):
        return (np.swapaxes(tensor, -1, -2),)

    def backward(self, tensors):
        return np.swapaxes(tensors[0], -1, -2)


@dataclass(frozen=True)
class Split(Identity):
    """One tensor that holds several weights side by side along an axis."""

    axis: int
    parts: int

    def forward(self, tensor):
        return tuple(np.split(tensor, self.parts, axis=self.axis))

    def backward(self, tensors):
        return np.concatenate(tensors, axis=self.axis)


identity = Identity()
transpose = Transpose()


def split(*, axis, parts):
    """Cuts a tensor into equal parts along an axis."""
    return Split(axis, parts)


@dataclass(frozen=True)
class Rule:
    """One published tensor and what it fills.

    Attributes:
        source: the published name; ``{i}`` is the number of the block.
        target: path or paths of the weights, or None for a tensor that is known and not needed (buffers, other heads).
        transform: how the one becomes the other, both ways.
        tied: the tensor repeats one that another rule has filled; checked on import, not written on export.
        optional: the published directory may lack it.
    """

    source: str
    target: str | tuple[str, ...] | None
    transform: Identity = identity
    tied: bool = False
    optional: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets as a tuple."""
        if self.target is None:
            return ()
        return (self.target,) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class Head:
    """How ``transformers`` names and stores a backbone with the head of a task.

    Attributes:
        architecture: the class in ``config.json``'s ``architectures``.
        prefix: what precedes the backbone's tensor names in such a directory.
        rules: rules of the head's own tensors.
    """

    architecture: str
    prefix: str
    rules: tuple[Rule, ...] = ()
