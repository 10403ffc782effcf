"""Which versions of a model a server loads, and which of them its labels name: what a ``ModelConfig`` says of that.

A server loads what the policy says: the newest N (one, where nothing is said), all, or those that are listed. A
request that names neither version nor label gets the highest version loaded. So a model with labels lists its versions:
a new one then loads when somebody gives it a label, and not when it is copied in.
"""

import re
from collections.abc import Iterable
from typing import Any

from kzoo.errors import UserError

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def policy_word(model: Any) -> str:
    """A model's policy as ``set_policy`` reads it: ``latest:1``, ``all`` or ``specific:1,3``."""
    choice = model.model_version_policy.WhichOneof("policy_choice")
    if choice == "all":
        return "all"
    if choice == "specific":
        return f"specific:{','.join(map(str, sorted(model.model_version_policy.specific.versions)))}"
    return f"latest:{max(model.model_version_policy.latest.num_versions, 1)}"


def loaded(model: Any, on_disk: Iterable[int]) -> set[int]:
    """The versions that a server loads of those on disk."""
    numbers = sorted(on_disk)
    choice = model.model_version_policy.WhichOneof("policy_choice")
    if choice == "all":
        return set(numbers)
    if choice == "specific":
        return set(model.model_version_policy.specific.versions) & set(numbers)
    return set(numbers[-max(model.model_version_policy.latest.num_versions, 1) :])


def set_policy(model: Any, word: str, on_disk: Iterable[int]) -> None:
    """Writes a policy into a ``ModelConfig``.

    Raises:
        UserError: it is none, names a version that is not there, or would unload one that has a label.
    """
    kind, _, value = word.partition(":")
    numbers = value.split(",")
    policy = type(model.model_version_policy)()
    if kind == "latest" and value.isdigit() and int(value) > 0:
        policy.latest.num_versions = int(value)
    elif kind == "all" and not value:
        policy.all.SetInParent()
    elif kind == "specific" and all(number.isdigit() for number in numbers):
        policy.specific.versions.extend(sorted({int(number) for number in numbers}))
    else:
        raise UserError(f"A policy is latest:N, all or specific:N,M with versions from 1. Received {word!r}.")
    if missing := sorted(set(policy.specific.versions) - set(on_disk)):
        raise UserError(f"{model.name} has no version {missing[0]}; it has {_listed(on_disk)}.")
    wanted = type(model)(model_version_policy=policy)
    for label, version in sorted(model.version_labels.items()):
        if version not in loaded(wanted, on_disk):
            raise UserError(
                f"The policy {word} would unload version {version} of {model.name}, which has the label {label}. Move "
                "the label first (kzoo promote), or take a policy that keeps that version."
            )
    model.model_version_policy.CopyFrom(policy)


def list_versions(model: Any, versions: Iterable[int]) -> None:
    """Makes a server load these versions and no others; the newest one where there are none."""
    versions = sorted(set(versions))
    model.ClearField("model_version_policy")
    if versions:
        model.model_version_policy.specific.versions.extend(versions)


def with_version(model: Any, version: int, on_disk: Iterable[int]) -> Any:
    """A copy that loads this version too, beside all that is loaded and all that has a label.

    Where the policy is the newest version it is listed from now on, or the next version would drive it out.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    wanted = {version, *model.version_labels.values()} & set(on_disk)
    if policy_word(model) == "latest:1" or not wanted <= loaded(model, on_disk):
        list_versions(copy, loaded(model, on_disk) | wanted)
    return copy


def with_room(model: Any, number: int, on_disk: Iterable[int]) -> Any:
    """A copy that goes on loading every version with a label once the version ``number`` has come."""
    copy = type(model)()
    copy.CopyFrom(model)
    labelled = set(model.version_labels.values()) & set(on_disk)
    if not labelled <= loaded(model, {number, *on_disk}):
        list_versions(copy, loaded(model, on_disk) | labelled)
    return copy


def relabelled(model: Any, label: str, version: int | None) -> Any:
    """A copy in which the label names this version, or nothing. What is loaded stays as it is."""
    copy = type(model)()
    copy.CopyFrom(model)
    if version is None:
        copy.version_labels.pop(label, None)
    else:
        copy.version_labels[label] = version
    return copy


def without(model: Any, versions: Iterable[int], before: str, on_disk: Iterable[int]) -> Any:
    """A copy that no longer loads versions that lost their label.

    A version with another label stays, and so does every other one that is listed. Where the policy ``before`` (as
    ``policy_word`` says it) was the newest version, which nobody listed, labelled versions alone are left.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    if copy.model_version_policy.WhichOneof("policy_choice") != "specific":
        return copy
    labelled = set(copy.version_labels.values()) & set(on_disk)
    listed = set(copy.model_version_policy.specific.versions)
    list_versions(copy, labelled if before == "latest:1" else listed - (set(versions) - labelled))
    return copy


def check_label(label: str) -> None:
    """UserError for a label that could not stand in a URL."""
    if not _LABEL.fullmatch(label):
        raise UserError(
            f"A label stands in URLs: letters, digits, '_', '-' and '.' only, the first a letter or digit. Received "
            f"{label!r}."
        )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"
