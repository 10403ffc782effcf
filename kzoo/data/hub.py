"""The Hugging Face hub's protocol: files of a repository at a revision, by its resolve endpoint.

Honours ``HF_ENDPOINT``, ``HF_TOKEN`` (or the token file of ``hf auth login``), ``HF_HOME``, ``HF_HUB_CACHE`` and
``HF_HUB_OFFLINE``. What the hub's own client has already downloaded is taken from its cache.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

from kzoo.data.web import Fetched, Progress, Unreachable, fetch
from kzoo.models.sources import File, HubSource


def switched_on(variable: str) -> bool:
    """Whether an environment variable is set to something that means yes."""
    return os.environ.get(variable, "").strip().upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """The hub's address: ``HF_ENDPOINT``, else the public hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def address(source: HubSource, file: File) -> str:
    """The URL of one file of a repository at its revision."""
    kind = "datasets/" if source.kind == "dataset" else ""
    revision = quote(source.revision, safe="")
    return f"{endpoint()}/{kind}{source.hub}/resolve/{revision}/{quote(source.where(file))}"


def token() -> str | None:
    """The user's token, from the environment or from the file that the hub's client keeps."""
    if switched_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not given:
        path = Path(os.environ.get("HF_TOKEN_PATH") or _home() / "token").expanduser()
        given = path.read_text().strip() if path.is_file() else ""
    return given.strip() or None


def cached(source: HubSource, file: File) -> Path | None:
    """The file in the cache of the hub's own client, or None."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or _home() / "hub").expanduser()
    repository = hub / f"{source.kind}s--{source.hub.replace('/', '--')}"
    revision = source.revision
    if not re.fullmatch("[0-9a-f]{40}", revision):
        reference = repository / "refs" / revision
        revision = reference.read_text().strip() if reference.is_file() else revision
    path = repository / "snapshots" / revision / source.where(file)
    return path if path.is_file() else None


def fetch_file(source: HubSource, file: File, target: Path, *, progress: Progress | None, patience: float) -> Fetched:
    """Downloads one file, resuming, and compares it with the checksum that the hub itself announces.

    Large files are announced by sha256 (``X-Linked-ETag``), small ones by their git blob sha1 (``ETag``).
    """
    if switched_on("HF_HUB_OFFLINE"):
        raise Unreachable(f"HF_HUB_OFFLINE is set, so {source} was not asked.")
    secret = token()
    try:
        fetched = fetch(
            address(source, file),
            target,
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            progress=progress,
            patience=patience,
        )
    except Unreachable as error:
        if re.search(r" answered 40[13] ", str(error)):
            have = "the token in HF_TOKEN is not allowed to" if secret else "it may need a token: set HF_TOKEN to"
            raise Unreachable(f"{error} The repository is private, gated or misspelt: {have} read it.") from error
        raise
    announced = _announced(fetched)
    if announced and announced not in (fetched.sha256, fetched.git_sha1):
        target.unlink(missing_ok=True)
        raise Unreachable(f"{source.where(file)} of {source} was damaged on the way: the hub announced {announced}.")
    return fetched


def _announced(fetched: Fetched) -> str | None:
    for name in ("x-linked-etag", "etag"):
        for headers in fetched.headers:
            tag = headers.get(name, "").removeprefix("W/").strip('"')
            if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", tag):
                return tag
            if tag and name == "etag":
                return None
    return None


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
