"""The labelled examples of which a few-shot task shows some: checked, and kept in files beside the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.checkpoints.replacing import write_text
from kzoo.data.examples import Examples
from kzoo.errors import UserError

FILES = {"pool": "pool.jsonl", "vectors": "pool-vectors.npy", "embedder": "embedder"}
"""Options of the task, and the file or folder that each of them lies in."""


def rows_of(pool) -> list[dict[str, str]]:
    """The pool's texts and labels."""
    if isinstance(pool, Examples):
        pool = [{"text": text, "label": label} for text, label in zip(pool["text"], pool["label"], strict=True)]
    rows = []
    for number, row in enumerate(pool):
        if not isinstance(row, Mapping) or not {"text", "label"} <= set(row):
            raise UserError(
                f"Each example of the pool has a text and a label. Received {row!r} as number {number + 1}."
            )
        rows.append({"text": str(row["text"]), "label": str(row["label"])})
    return rows


def labels_of_pool(labels: Sequence[str] | None, pool: Sequence[Mapping[str, str]]) -> list[str]:
    """The classes: as given, else those of the pool, sorted."""
    found = sorted({row["label"] for row in pool})
    labels = found if labels is None else [str(label) for label in labels]
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise UserError(f"few_shot needs two or more different classes. Received {labels}.")
    if unknown := sorted(set(found) - set(labels)):
        raise UserError(f"The pool has the labels {', '.join(unknown[:5])}, which labels does not name: {labels}.")
    return labels


def save_pool(directory: Path, options: Mapping[str, Any]) -> None:
    """Writes the options that have files; ``vectors`` and ``embedder`` where texts are compared by them."""
    lines = (json.dumps(row, ensure_ascii=False) for row in options["pool"])
    write_text(directory / FILES["pool"], "".join(f"{line}\n" for line in lines))
    if options["vectors"] is not None:
        np.save(directory / FILES["vectors"], options["vectors"])
        options["embedder"].save(directory / FILES["embedder"])


def with_files(options: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The options with what their files hold.

    Raises:
        UserError: a file is missing.
    """
    from kzoo.tasks.load import load_task

    given = dict(options)
    for name, file in FILES.items():
        place = directory / file
        if not isinstance(given.get(name), str):
            continue
        if not place.exists():
            raise UserError(f"{directory} is not whole: {file} is missing. Save the task again.")
        if name == "pool":
            lines = place.read_text(encoding="utf-8").splitlines()
            given[name] = [json.loads(line) for line in lines if line.strip()]
        elif name == "vectors":
            given[name] = np.load(place, allow_pickle=False)
        else:
            given[name] = load_task(place)
    return given
