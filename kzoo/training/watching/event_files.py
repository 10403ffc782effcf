"""TensorBoard's files of a run that goes on: what lies behind the checkpoint is taken out, for it is written again."""

import os
from pathlib import Path

import tensorflow as tf

from kzoo.training.watching import projector

FILES = "events.out.tfevents.*"
# tags of ``train``, or their beginnings, that the end of an epoch writes; of ``validation`` it writes all
AT_EPOCH_END = ("samples", "guesses", "weights/")


def rewind(folder: str | Path, total: int, *, epoch_ends: bool = False) -> None:
    """Takes out the points after a step, and what a kill left half written; TensorBoard would show both runs of a step.

    Args:
        folder: a run's ``tensorboard`` folder, with ``train`` and ``validation``; need not exist.
        total: steps that are done; 0 takes all out.
        epoch_ends: whether the end of an epoch, with its validation, is to be done again at this step.
    """
    for part in ("train", "validation"):
        for path in sorted((Path(folder) / part).glob(FILES)):
            if total == 0:
                path.unlink()
            else:
                _rewind(path, total, again=(part, total) if epoch_ends else None)
    projector.rewind(Path(folder) / "train", total)


def _rewind(path: Path, total: int, *, again: tuple[str, int] | None) -> None:
    records, is_whole = _records(path)
    kept = [record for record in records if _stays(tf.compat.v1.Event.FromString(record), total, again)]
    if is_whole and len(kept) == len(records):
        return
    aside = path.with_name(f".rewound.{os.getpid()}")
    try:
        with tf.io.TFRecordWriter(str(aside)) as writer:
            for record in kept:
                writer.write(record)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _records(path: Path) -> tuple[list[bytes], bool]:
    """The records that are whole, and whether all are."""
    records: list[bytes] = []
    try:
        records.extend(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.DataLossError:
        return records, False
    return records, True


def _stays(event, total: int, again: tuple[str, int] | None) -> bool:
    if event.step > total:
        return False
    if again is None or event.step < again[1]:
        return True
    return again[0] == "train" and not any(value.tag.startswith(AT_EPOCH_END) for value in event.summary.value)
