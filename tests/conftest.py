"""How the tests run: a quiet TensorFlow, two processes on two cores, and real files for those that want them.

Real files are pulled once into the user's cache; without a network the tests that need them skip.
"""

import gc
import os
import shutil
from pathlib import Path

# Before anything imports TensorFlow. Under xdist every process is given one thread: two processes that each take all
# cores slow one another down.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    for _threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(_threads, "1")

import pytest  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot do, with the reason; the longest file first, so that no process waits for it."""
    items.sort(key=lambda item: "tests/tutorials/" not in item.nodeid)
    reasons = {
        "browser": "there is no Chromium here" if not _chromium() else "",
        "docker": "" if _docker_answers() else "Docker does not answer here",
        "gpu": "" if Path("/dev/nvidia0").exists() else "there is no GPU here",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Spares the garbage collector what was imported: building graphs, it would look through it again and again."""
    gc.collect()
    gc.freeze()


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _docker_answers() -> bool:
    return Path("/var/run/docker.sock").exists() and shutil.which("docker") is not None


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a headless browser; tests that use it carry the marker ``browser``."""
    path = _chromium()
    if path is None:
        pytest.skip("there is no Chromium here")
    return path


def _pulled(name: str) -> Path:
    from kzoo import data
    from kzoo.errors import UserError

    try:
        return data.pull(name)
    except UserError as error:
        pytest.skip(f"{name} cannot be pulled here: {error}")


@pytest.fixture(scope="session")
def minilm_directory() -> Path:
    """The folder of all-MiniLM-L6-v2 as published: config.json, model.safetensors, tokenizer files."""
    return _pulled("minilm-l6-v2")


@pytest.fixture(scope="session")
def smollm2_directory() -> Path:
    """The folder of SmolLM2-135M-Instruct's GGUF file."""
    return _pulled("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def gpt2_tokenizer_directory() -> Path:
    """The folder of GPT-2's encoder.json and vocab.bpe."""
    return _pulled("gpt2-tokenizer")


@pytest.fixture(scope="session")
def movie_reviews() -> Path:
    """The TSV file of movie review snippets: id, mean rating from -4 to 4, text; no header."""
    return _pulled("movie-reviews")


@pytest.fixture(scope="session")
def shakespeare() -> Path:
    """The folder of Shakespeare's works, 42 plain text files."""
    return _pulled("shakespeare")
