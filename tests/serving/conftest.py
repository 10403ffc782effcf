"""Tiny tasks, exported once for all tests of serving."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def classify(tmp_path_factory):
    """A tiny classifier: ``task``, and ``path`` of its SavedModel."""
    return _exported(tmp_path_factory, "classify")


@pytest.fixture(scope="session")
def generate(tmp_path_factory):
    """A tiny text generator: ``task``, and ``path`` of its SavedModel."""
    return _exported(tmp_path_factory, "generate")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost that signed itself: ``certificate`` and ``key``, paths of PEM files."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    folder = tmp_path_factory.mktemp("certificate")
    made = SimpleNamespace(certificate=folder / "certificate.pem", key=folder / "key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.key,
         "-out", made.certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


def _exported(tmp_path_factory, name):
    import kzoo
    from kzoo.serving import warmup
    from kzoo.serving.export import export
    from tests import tiny

    if name == "classify":
        task = kzoo.Classify(tiny.bert(), labels=["négatif", "positive"])
    else:
        task = kzoo.Generate(tiny.gpt2(), max_new_tokens=4)
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8,))
    return SimpleNamespace(task=task, path=export(task, tmp_path_factory.mktemp("exports") / name, warm_up=plan))
