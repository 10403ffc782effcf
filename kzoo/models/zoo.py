"""The zoo: the presets under models/, each a model.yaml with its architecture, its pinned source and its card.

Reading the zoo imports neither TensorFlow nor Keras.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from kzoo import resources
from kzoo.errors import UserError
from kzoo.models.sources import Pullable, Strict, closest, read_description


class Measurement(Strict):
    """A result that was measured with kzoo: how good a preset is at what, on which data, by which command."""

    task: str
    data: str
    metric: str
    value: float
    command: str | None = None
    notes: str | None = None


class Preset(Pullable):
    """A published model or tokenizer that kzoo can pull, load, train and serve."""

    kind: Literal["model", "tokenizer"] = "model"
    family: str
    tasks: list[str] = []
    architecture: dict[str, int | float | str | bool]
    parameters: int | None = Field(default=None, gt=0)
    parameters_source: str | None = None
    verified: str | None = None
    measured: list[Measurement] = []

    @property
    def card(self) -> Path:
        """The path of the preset's README.md."""
        return resources.folder("models") / self.name / "README.md"


@cache
def _read(path: Path) -> Preset:
    preset = read_description(path, Preset)
    if preset.name != path.parent.name:
        raise UserError(f"{path}: name must be the folder's name. Received name: {preset.name}.")
    return preset


def names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.parent.name for path in resources.folder("models").glob("*/model.yaml"))


def presets() -> list[Preset]:
    """All presets, sorted by name."""
    return [preset(name) for name in names()]


def preset(name: str) -> Preset:
    """The preset of that name. UserError with the closest names when there is none."""
    known = names()
    if name not in known:
        raise UserError(
            f"The zoo has no model {name!r}{closest(name, known)}. It has: {', '.join(known)}. "
            "A folder of your own is given by its path."
        )
    return _read(resources.folder("models") / name / "model.yaml")
