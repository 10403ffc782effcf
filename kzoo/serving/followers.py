"""The servers that follow a bundle, asked until they have come as far as a promotion needs."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kzoo.errors import UserError
from kzoo.serving import client

POLL = 0.5  # seconds between two questions to a server
_STALE = 30.0  # seconds for which an old failure of a version may still be what a server tells


class LoadError(UserError):
    """A server cannot load a version."""


class Servers:
    """The servers that follow a bundle, asked until they say what is waited for; none where ``addresses`` is empty."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: float,
        ca: Path | str | None = None,
        say: Callable[[str], None],
    ):
        self._clients = [(address, client.connect(address, timeout=30.0, ca=ca)) for address in addresses]
        self._timeout = timeout
        self._say = say

    def close(self) -> None:
        """Closes the connections."""
        for _, asking in self._clients:
            asking.close()

    def check(self, model: str) -> None:
        """UserError where one does not answer, or does not serve the model."""
        for _, asking in self._clients:
            asking.status(model)

    def wait_until_loaded(self, model: str, version: int) -> None:
        """Returns once the version is available on every server. ``LoadError`` where one cannot load it."""
        for address, asking in self._clients:
            started, was_loading = time.monotonic(), False

            def is_loaded(asking: client.Client = asking, started: float = started) -> str | None:
                nonlocal was_loading
                state = asking.status(model).get(version, "not known yet")
                was_loading = was_loading or state in ("START", "LOADING")
                if state == "END" and (was_loading or time.monotonic() - started > _STALE):
                    problem = asking.problems(model).get(version)
                    if problem:
                        raise LoadError(problem)
                return None if state == "AVAILABLE" else f"version {version} of {model} is {state}"

            self._wait(address, is_loaded, f"Waiting for {address} to load version {version} of {model} ...")

    def wait_until_labelled(self, model: str, label: str, version: int) -> None:
        """Returns once every server answers the label with this version."""
        for address, asking in self._clients:

            def is_labelled(asking: client.Client = asking) -> str | None:
                try:
                    named = asking.labelled(model, label)
                except client.ReplyError as error:
                    return error.message
                return None if named == version else f"the label {label} of {model} names version {named}"

            self._wait(address, is_labelled, f"Waiting for {address} to move the label {label} ...")

    def wait_until_gone(self, model: str, versions: Iterable[int]) -> None:
        """Returns once no server has these versions loaded.

        Else the next promotion of one of them could see it as available while a server is about to let it go.
        """
        leaving = set(versions)
        for address, asking in self._clients:

            def are_gone(asking: client.Client = asking) -> str | None:
                states = asking.status(model)
                left = [number for number in sorted(leaving) if states.get(number, "END") != "END"]
                return f"version {left[0]} of {model} is {states[left[0]]}" if left else None

            if leaving:
                self._wait(address, are_gone, f"Waiting for {address} to let the old version go ...")

    def _wait(self, address: str, missing: Callable[[], str | None], announcement: str) -> None:
        """Asks until nothing is missing; a server that does not answer for a moment is asked again."""
        deadline, announced = time.monotonic() + self._timeout, False
        while True:
            try:
                reason = missing()
                if reason is None:
                    return
            except (LoadError, client.ReplyError):
                raise
            except UserError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise UserError(
                    f"{address} did not come so far within {self._timeout:.0f} seconds: {reason.rstrip('.')}. Repeat "
                    "the command to go on waiting, or take the move back with kzoo rollback."
                )
            if not announced:
                self._say(announcement)
                announced = True
            time.sleep(POLL)
