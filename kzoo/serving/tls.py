"""A server's certificate and key: read and checked, written as the server takes them.

TensorFlow Serving speaks TLS over gRPC alone (``--ssl_config_file``, an ``SSLConfig`` that holds the PEM texts). Its
REST port has none: in production a proxy stands before it. kzoo's own server speaks TLS over both.
"""

import dataclasses
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import protos

FILE = "ssl.config"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a server shows its clients, as paths of PEM files.

    Attributes:
        certificate: the server's own first, then those that lead to the authority.
        key: its private key, without a passphrase.
    """

    certificate: Path
    key: Path


def read(certificate: Path | str, key: Path | str) -> Certificate:
    """A server's certificate. UserError where a file is not what it should be, or the two do not belong together."""
    given = Certificate(certificate=Path(certificate), key=Path(key))
    _text(given.certificate), _text(given.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a passphrase would be asked for at the terminal, and the server could not ask.
        context.load_cert_chain(given.certificate, given.key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise UserError(
            f"{given.certificate} and {given.key} must be a PEM certificate and its key without a passphrase: "
            f"{error.reason or error}."
        ) from None
    return given


def config(given: Certificate) -> Any:
    """The ``SSLConfig`` of a server."""
    return protos.SSLConfig(server_key=_text(given.key), server_cert=_text(given.certificate))


def write_folder(folder: Path, given: Certificate) -> None:
    """Writes certificate, key and ``SSLConfig`` into a folder that its owner alone may enter."""
    folder.mkdir(mode=0o700, exist_ok=True)
    write(folder / FILE, given)
    _write_private(folder / "certificate.pem", _text(given.certificate))
    _write_private(folder / "key.pem", _text(given.key))


def write(path: Path, given: Certificate) -> None:
    """Writes the ``SSLConfig`` as a text file that its owner alone may read: the key stands in it."""
    head = "# What the server shows its clients over gRPC (SSLConfig, text format). Keep it secret.\n"
    _write_private(path, head + protos.to_text(config(given)))


def _write_private(path: Path, text: str) -> None:
    """A file that its owner alone may read, whole or not at all."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    with open(handle, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(aside, path)


def _no_passphrase() -> str:
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a PEM file: it is not plain text.") from None
