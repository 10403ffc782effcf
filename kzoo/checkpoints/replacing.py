"""Files written aside and renamed, so that a failure leaves the old file or none, never half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzoo.errors import UserError


@contextmanager
def replacing(path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; it takes the name of ``path`` when the block ends well.

    Raises:
        UserError: the file cannot be written, as on a full disk; what was written is removed.
    """
    path = Path(path)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}. Nothing of it is left.") from error
    finally:
        aside.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")
