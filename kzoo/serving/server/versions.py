"""Which versions of a model its config asks for: numbered folders under the base path, chosen by the policy."""

from __future__ import annotations

import os
import re
from typing import Any

_NUMBER = re.compile(r"[0-9]{1,19}")
_LARGEST = (1 << 63) - 1


def on_disk(base_path: str) -> dict[int, str]:
    """The version folders under a base path, by number. Raises ``OSError`` where there is no such folder.

    Only names that are numbers count (``00007`` is 7); a folder being copied under another name is not seen before it
    is renamed.
    """
    found: dict[int, str] = {}
    with os.scandir(base_path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if _NUMBER.fullmatch(entry.name) and int(entry.name) <= _LARGEST and entry.is_dir():
                found[int(entry.name)] = entry.path
    return found


def aspired(config: Any) -> dict[int, str]:
    """The versions a ``ModelConfig`` wants served of those on disk, newest first: by default the newest one."""
    found = on_disk(config.base_path)
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        chosen = set(found)
    elif choice == "specific":
        chosen = set(policy.specific.versions) & set(found)
    else:
        chosen = set(sorted(found)[-max(policy.latest.num_versions, 1) :])
    return {version: found[version] for version in sorted(chosen, reverse=True)}


def fingerprint(path: str) -> tuple[int, ...]:
    """What changes when a version or a file of it is replaced: a version that failed to load is tried again then."""
    marks = [_mark(path)[0]]  # another folder of that name
    for name in ("saved_model.pb", "batching_params.pbtxt", "variables", "assets", "assets.extra"):
        marks.extend(_mark(os.path.join(path, name)))
    for name in ("variables", "assets.extra"):
        folder = os.path.join(path, name)
        try:
            for child in sorted(os.listdir(folder)):
                marks.extend(_mark(os.path.join(folder, child)))
        except OSError:
            marks.append(0)
    return tuple(marks)


def _mark(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size
