"""What a bundle holds: each model's versions, which of them a server loads, and the labels that name them."""

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from kzoo.serving import bundle as bundles
from kzoo.serving import policies
from kzoo.serving.label_history import History, Move
from kzoo.serving.placing import size_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One version of one model.

    Attributes:
        size: bytes of its files.
        placed: when it was put into the bundle, UTC, ISO 8601.
        is_loaded: whether the model's policy has a server load it.
        labels: each label that names it, to the time since when (None where that is not known).
    """

    model: str
    version: int
    size: int
    placed: str
    policy: str
    is_loaded: bool
    labels: dict[str, str | None]


def entries(directory: Path | str) -> list[Entry]:
    """Every version in a bundle, models in the order of models.config, newest version first."""
    directory = Path(directory)
    history = History.read(directory)
    found = []
    for model in bundles.read_models_config(directory).model_config_list.config:
        on_disk = bundles.versions(directory, model.name)
        found += [_entry(directory, model, version, on_disk, history) for version in reversed(on_disk)]
    return found


def pending(directory: Path | str) -> Move | None:
    """The move of a label that was interrupted, if there is one."""
    return History.read(Path(directory)).pending


def _entry(directory: Path, model: Any, version: int, on_disk: list[int], history: History) -> Entry:
    folder = directory / bundles.MODELS / model.name / str(version)
    placed = datetime.datetime.fromtimestamp(folder.stat().st_ctime, datetime.UTC)
    return Entry(
        model=model.name,
        version=version,
        size=size_of(folder),
        placed=placed.isoformat(timespec="seconds"),
        policy=policies.policy_word(model),
        is_loaded=version in policies.loaded(model, on_disk),
        labels={
            label: history.since(model.name, label, version)
            for label, number in sorted(model.version_labels.items())
            if number == version
        },
    )
