"""A bundle's models.config as a server outside the container needs it: with this machine's paths."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving import protos

_SECONDS = 1.0  # between two looks at the original


@contextlib.contextmanager
def resolved(directory: Path, target: Path) -> Iterator[Path]:
    """Writes ``target``, and writes it anew whenever the bundle's models.config changes, until the block ends.

    An original that does not parse leaves the last good copy.
    """
    seen = _state(directory)
    resolve(directory, target)
    is_over = threading.Event()

    def follow(seen: tuple[int, ...]) -> None:
        while not is_over.wait(_SECONDS):
            if (now := _state(directory)) not in (seen, ()):
                seen = now
                with contextlib.suppress(UserError, OSError):
                    resolve(directory, target)

    follower = threading.Thread(target=follow, args=(seen,), name="kzoo-models-config", daemon=True)
    follower.start()
    try:
        yield target
    finally:
        is_over.set()
        follower.join()


def resolve(directory: Path, target: Path) -> None:
    """Writes the bundle's models.config to ``target`` with this machine's paths in place of the container's."""
    config = bundles.read_models_config(directory)
    for one in config.model_config_list.config:
        one.base_path = str(directory / bundles.MODELS / one.name)
    protos.write(target, config)


def _state(directory: Path) -> tuple[int, ...]:
    """What changes when the original does; empty while it is not there."""
    try:
        status = os.stat(directory / bundles.MODELS_CONFIG)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino
