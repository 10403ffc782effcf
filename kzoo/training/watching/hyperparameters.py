"""What a run was told, for TensorBoard's HParams tab: runs of a folder stand in a table with their last results.

One file beside the curves of the validation, whose last points are the results; without a validation, beside those of
training. Each process of a run writes it anew, so that there is one session a run.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, summary

from kzoo.training.config import DataConfig
from kzoo.training.watching.event_files import FILES

# what does not shape the result, or is told elsewhere
LEFT_OUT = (
    "logging",
    "output",
    "data.columns",
    "data.label",
    "data.format",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.validate_every",
    "training.device",
    "training.strategy",
)
SUFFIX = ".session"
UNKNOWN = object()
LONGEST = 120  # characters of a value
USUAL = {f"data.{name}": field.default for name, field in DataConfig.model_fields.items()}
"""How data are read unless told otherwise: shown where it is otherwise."""


class Hyperparameters:
    """The session of a run.

    Args:
        folder: of the curves that are the results.
        config: what ``config.yaml`` says.
        name: of the run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, name: str):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{FILES}{SUFFIX}"):  # of the process before
            path.unlink()
        self._writer = tf.summary.create_file_writer(str(folder), filename_suffix=SUFFIX)
        self._write(hparams.hparams_pb(flat(config), trial_id=name))

    def end(self) -> None:
        """The run is complete."""
        self._write(summary.session_end_pb(api_pb2.STATUS_SUCCESS))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, message) -> None:
        with self._writer.as_default(step=0):
            tf.summary.experimental.write_raw_pb(message.SerializeToString(), step=0)
        self._writer.flush()


def flat(config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """What of a config shapes the result, by dotted keys; what was not said is left out."""
    return dict(_flat(config))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | float | str]]:
    for key, value in config.items():
        place = f"{prefix}{key}"
        if place in LEFT_OUT or value is None or value == [] or value == {} or value == USUAL.get(place, UNKNOWN):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}.")
        elif isinstance(value, bool | int | float):
            yield place, value
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield place, text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
