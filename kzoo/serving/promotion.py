"""Moving a label from one version to another under load, and back.

A server refuses a label on a version that it has not loaded, and a version must not go before its label has. So a move
takes three steps, each a new ``models.config`` that appears whole: the version joins those that are loaded; once every
server says ``AVAILABLE`` the label moves; once every server answers the label with that version, the old one may go.
A step that is done already is passed over, so an interrupted move is ended by repeating it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving import client, policies, protos, saved_model
from kzoo.serving.followers import LoadError, Servers
from kzoo.serving.label_history import History, Move

STABLE = "stable"
DEFAULT_SERVER = "http://127.0.0.1:8501"


def promote(
    directory: Path | str,
    model: str,
    version: int,
    *,
    label: str = STABLE,
    servers: Sequence[str] = (),
    offline: bool = False,
    keep_former: bool = False,
    timeout: float = 600.0,
    ca: Path | str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> int | None:
    """Moves a label to a version; requests for the label are answered all the while.

    Args:
        directory: the bundle.
        model: the model's name.
        version: the version that the label shall name.
        label: the label.
        servers: addresses of all servers that follow the bundle; by default one at this machine's usual REST port.
        offline: no server runs: nothing is waited for.
        keep_former: the version that had the label stays loaded, so that a rollback has nothing to load.
        timeout: seconds to wait for each server at each step.
        ca: a PEM file of the certificates to trust.
        say: is told what is waited for.

    Returns:
        The version that had the label before, None where it is new.

    Raises:
        UserError: no such model or version, a damaged version, a server that is down or cannot load it. Where it cannot
            be loaded everything is as it was; the label has not moved.
    """
    with _changing(directory, servers, offline, timeout, ca, say) as change:
        policies.check_label(label)
        entry = change.entry(model)
        change.check_version(model, version)
        pending = change.history.pending
        current = entry.version_labels.get(label)
        if pending is not None and (pending.model, pending.label) != (model, label):
            raise _interrupted(directory, pending)
        drop: set[int] = set()
        if pending is None or (pending.command, pending.target) != ("promote", version):
            if pending is None and current == version:
                say(f"The label {label} of {model} names version {version} already.")
            if pending is not None and pending.target is not None:
                drop.add(pending.target)  # of another move, which this one replaces
            policy = pending.policy if pending is not None else policies.policy_word(entry)
            move = Move(model=model, label=label, source=current, target=version, command="promote", policy=policy)
        else:
            move = pending
        return change.move(move, drop=drop, keep_former=keep_former)


def rollback(
    directory: Path | str,
    model: str,
    *,
    label: str = STABLE,
    servers: Sequence[str] = (),
    offline: bool = False,
    timeout: float = 600.0,
    ca: Path | str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Moves a label back to the version that had it before; a promotion that was interrupted is taken back.

    Arguments and errors as of ``promote``.

    Returns:
        The version that the label names now.
    """
    with _changing(directory, servers, offline, timeout, ca, say) as change:
        entry = change.entry(model)
        current = change.labelled(entry, label)
        pending = change.history.pending
        if pending is not None and (pending.model, pending.label) != (model, label):
            raise _interrupted(directory, pending)
        if pending is not None and pending.command == "promote":
            if current != pending.target:
                change.take_back(pending)
                say(f"The promotion to version {pending.target} is taken back; it had not moved the label.")
                if current is None:
                    raise UserError(f"{model} has no label {label} now: that promotion would have been its first.")
                return current
            change.history.finish()
            pending = None
        if pending is not None:
            move = pending
        else:
            former = change.history.former(model, label, current)
            if former is None:
                raise UserError(
                    f"{label} of {model} names version {current}, and no version is known that it named before. Name "
                    f"one: kzoo promote {directory} {model} VERSION --label {label}"
                )
            policy = policies.policy_word(entry)
            move = Move(model=model, label=label, source=current, target=former, command="rollback", policy=policy)
        assert move.target is not None
        change.check_version(model, move.target)
        change.move(move)
        return move.target


def remove_label(directory: Path | str, model: str, label: str) -> None:
    """Takes a label away; a version that is listed for its sake alone is no longer loaded. Nothing is waited for."""
    with _changing(directory, (), True, 0.0, None, lambda line: None) as change:
        entry = change.entry(model)
        current = change.labelled(entry, label)
        if change.history.pending is not None:
            raise _interrupted(directory, change.history.pending)
        policy = policies.policy_word(entry)
        change.history.begin(
            Move(model=model, label=label, source=current, target=None, command="remove", policy=policy)
        )
        bare = policies.relabelled(entry, label, None)
        gone = [] if current is None else [current]
        change.write(policies.without(bare, gone, policy, change.on_disk(model)))
        change.history.finish()


class _Change:
    """A bundle that is being changed: its config, its history, the servers that follow it."""

    def __init__(self, directory: Path, servers: Servers):
        self.directory = directory
        self.servers = servers
        self.history = History.read(directory)

    def entry(self, model: str) -> Any:
        """The model's part of models.config."""
        config = bundles.read_models_config(self.directory)
        for one in config.model_config_list.config:
            if one.name == model:
                return one
        names = ", ".join(one.name for one in config.model_config_list.config)
        raise UserError(f"{self.directory} has no model {model!r}. It has {names}.")

    def labelled(self, entry: Any, label: str) -> int | None:
        """The version that has a label, or that a pending move is about to give it."""
        pending = self.history.pending
        if label in entry.version_labels:
            return entry.version_labels[label]
        if pending is not None and (pending.model, pending.label) == (entry.name, label):
            return None
        known = ", ".join(sorted(entry.version_labels)) or "none"
        raise UserError(f"{entry.name} has no label {label!r}. Its labels: {known}. kzoo promote gives one.")

    def on_disk(self, model: str) -> list[int]:
        """The model's versions."""
        return bundles.versions(self.directory, model)

    def check_version(self, model: str, version: int) -> None:
        """UserError where the version is not there or lacks files."""
        known = self.on_disk(model)
        if version not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise UserError(f"{self.directory} has no version {version} of {model}. It has {listed}.")
        saved_model.check(self.directory / bundles.MODELS / model / str(version))

    def write(self, entry: Any) -> None:
        """Replaces the model's part of models.config, where that says something else; a server sees all or nothing."""
        path = self.directory / bundles.MODELS_CONFIG
        config = bundles.read_models_config(self.directory)
        for one in config.model_config_list.config:
            if one.name == entry.name and one != entry:
                one.CopyFrom(entry)
                protos.write(path, config, comment=bundles.MODELS_COMMENT)

    def move(self, move: Move, *, drop: Iterable[int] = (), keep_former: bool = False) -> int | None:
        """Makes a move, or what is left of it; returns the version that had the label."""
        model, label, target = move.model, move.label, move.target
        assert target is not None
        self.servers.check(model)
        is_new = move.source != target
        if is_new and self.history.pending != move:
            move = self.history.begin(move)
        on_disk = self.on_disk(model)
        self.write(policies.with_version(self.entry(model), target, on_disk))
        try:
            self.servers.wait_until_loaded(model, target)
        except LoadError as error:
            self.take_back(move)
            raise UserError(
                f"Version {target} of {model} cannot be loaded, and the label {label} stays where it was: {error}"
            ) from None
        self.write(policies.relabelled(self.entry(model), label, target))
        self.servers.wait_until_labelled(model, label, target)
        unwanted = set(drop)
        if is_new and move.source is not None and not keep_former:
            unwanted.add(move.source)
        if is_new or unwanted:
            before = "" if keep_former and move.policy == "latest:1" else move.policy
            self.write(policies.without(self.entry(model), unwanted, before, on_disk))
            self.servers.wait_until_gone(model, set(on_disk) - policies.loaded(self.entry(model), on_disk))
        if is_new:
            self.history.finish()
        else:
            self.history.abandon()
        return move.source

    def take_back(self, move: Move) -> None:
        """Loads what was loaded before a move whose label has not moved."""
        entry, on_disk = self.entry(move.model), self.on_disk(move.model)
        try:
            policies.set_policy(entry, move.policy, on_disk)
        except UserError:  # versions have gone meanwhile
            kept = policies.loaded(entry, on_disk) - {move.target}
            policies.list_versions(entry, kept | set(entry.version_labels.values()))
        self.write(entry)
        self.history.abandon()


@contextlib.contextmanager
def _changing(
    directory: Path | str,
    servers: Sequence[str],
    offline: bool,
    timeout: float,
    ca: Path | str | None,
    say: Callable[[str], None],
) -> Iterator[_Change]:
    directory = Path(directory)
    bundles.read_models_config(directory)
    if offline and servers:
        raise UserError("Either servers are asked or none runs. Received addresses and offline.")
    following = Servers([] if offline else servers or _found(say), timeout=timeout, ca=ca, say=say)
    try:
        with bundles.locked(directory):
            yield _Change(directory, following)
    finally:
        following.close()


def _found(say: Callable[[str], None]) -> list[str]:
    """The server of this machine's usual port. UserError where none answers."""
    asking = client.connect(DEFAULT_SERVER, timeout=5.0)
    try:
        asking.status("kzoo")
    except client.ReplyError:
        pass  # no model of this name: a server all the same
    except UserError:
        raise UserError(
            f"No server answers at {DEFAULT_SERVER}, so nobody can say whether the version loads. Give the servers' "
            "addresses (--rest HOST:PORT or --grpc HOST:PORT, each once), or say that none runs (--offline)."
        ) from None
    finally:
        asking.close()
    say(f"Asking the server at {DEFAULT_SERVER}.")
    return [DEFAULT_SERVER]


def _interrupted(directory: Path | str, pending: Move) -> UserError:
    again = f"kzoo {pending.command} {directory} {pending.model}"
    again += f" {pending.target}" if pending.command == "promote" else ""
    return UserError(
        f"A move of the label {pending.label} of {pending.model} to version {pending.target} was interrupted. End it "
        f"first: {again} --label {pending.label} (or take a promotion back with kzoo rollback)."
    )
