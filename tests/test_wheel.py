"""What `pip install` of the built wheel gives: every module imports, and the rooms beside the library travel along."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

IMPORT_ALL = """
import importlib, json, os, pkgutil
import kzoo
from kzoo import resources
names = ["kzoo", *(module.name for module in pkgutil.walk_packages(kzoo.__path__, "kzoo."))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from kzoo.data import dataset_names
from kzoo.models import zoo
print(json.dumps({
    "home": os.path.dirname(kzoo.__file__),
    "modules": names,
    "resources": {room: str(resources.folder(room)) for room in resources.ROOMS},
    "presets": [preset.name for preset in zoo.presets()],
    "cards": [preset.card.is_file() for preset in zoo.presets()],
    "data": dataset_names(),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which the wheel, built from a copy of the checkout, was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for room in ("kzoo", "models", "configs", "serving"):
        shutil.copytree(CHECKOUT / room, source / room, ignore=ignore)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        if (CHECKOUT / name).exists():
            shutil.copy(CHECKOUT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (wheel,) = (folder / "dist").glob("kzoo-*.whl")
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def seen(installed, tmp_path_factory):
    """What a program elsewhere sees of the installed package."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = os.environ | {"PYTHONPATH": str(installed), "TF_CPP_MIN_LOG_LEVEL": "3"}
    asked = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    return json.loads(asked.stdout.splitlines()[-1])


def test_every_module_of_the_checkout_is_in_the_wheel_and_imports(installed, seen):
    assert Path(seen["home"]) == installed / "kzoo"
    files = [path.relative_to(CHECKOUT).with_suffix("") for path in (CHECKOUT / "kzoo").rglob("*.py")]
    names = {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert set(seen["modules"]) == names


def test_presets_configs_and_templates_are_found_in_the_wheel(installed, seen):
    assert {Path(path).parent for path in seen["resources"].values()} == {installed / "kzoo" / "_resources"}
    assert sorted(seen["presets"]) == sorted(path.parent.name for path in (CHECKOUT / "models").glob("*/model.yaml"))
    assert all(seen["cards"])
    assert "movie-reviews" in seen["data"]


def test_every_file_that_the_library_reads_is_in_the_wheel(installed):
    kept = {".py", ".pyc"}
    expected = {
        path.relative_to(CHECKOUT)
        for path in (CHECKOUT / "kzoo").rglob("*")
        if path.is_file() and path.suffix not in kept and "__pycache__" not in path.parts
    }
    assert expected, "kzoo/ holds at least py.typed"
    assert {path for path in expected if not (installed / path).is_file()} == set()


def test_the_command_answers_from_the_wheel(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    asked = subprocess.run(
        [sys.executable, "-m", "kzoo", "models"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    assert "minilm-l6-v2" in asked.stdout
