"""The data sets that kzoo can pull by name: descriptions under configs/data/, each with its pinned source.

A description also says how the files are read, so that ``kzoo.data.read("movie-reviews")`` needs no further word.
"""

from functools import cache
from pathlib import Path

from kzoo import resources
from kzoo.data.formats import Reading
from kzoo.errors import UserError
from kzoo.models.sources import Pullable, closest, read_description


class Dataset(Pullable):
    """A published data set: pinned files, and the options of ``kzoo.data.read`` that fit them."""

    read: Reading = Reading.model_validate({})


@cache
def _read(path: Path) -> Dataset:
    return read_description(path, Dataset)


def dataset_names() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted(path.stem for path in (resources.folder("configs") / "data").glob("*.yaml"))


def datasets() -> list[Dataset]:
    """All data sets, sorted by name."""
    return [dataset(name) for name in dataset_names()]


def dataset(name: str) -> Dataset:
    """The data set of that name. UserError with the closest names when there is none."""
    known = dataset_names()
    if name not in known:
        raise UserError(f"There is no data set {name!r}{closest(name, known)}. There are: {', '.join(known)}.")
    return _read(resources.folder("configs") / "data" / f"{name}.yaml")
