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
    """What changes when a version folder's model is replaced: a version that failed to load is tried again then."""
    marks = []
    for name in ("saved_model.pb", os.path.join("variables", "variables.index"), "assets.extra"):
        try:
            status = os.stat(os.path.join(path, name))
        except OSError:
            marks.append(0)
        else:
            marks.extend((status.st_mtime_ns, status.st_size))
    return tuple(marks)
