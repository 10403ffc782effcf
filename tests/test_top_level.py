"""``import kzoo`` costs nothing and offers everything."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import kzoo


@pytest.mark.parametrize("name", [name for name in kzoo.__all__ if name not in ("UserError", "__version__")])
def test_each_name_comes_from_its_home(name):
    home = importlib.import_module(kzoo._HOMES[name])
    assert getattr(kzoo, name) is getattr(home, name)


def test_every_name_is_listed():
    assert sorted(kzoo.__all__) == sorted([*kzoo._HOMES, "UserError", "__version__"])
    assert set(kzoo.__all__) <= set(dir(kzoo))


def test_every_room_is_an_attribute():
    rooms = {module.name for module in pkgutil.iter_modules(kzoo.__path__) if module.ispkg}
    assert rooms == set(kzoo._ROOMS)
    for room in rooms:
        assert getattr(kzoo, room).__name__ == f"kzoo.{room}"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'kzoo' has no attribute 'lode'"):
        kzoo.lode  # noqa: B018


def test_importing_kzoo_imports_no_tensorflow():
    code = "import sys, kzoo; print('tensorflow' in sys.modules, 'keras' in sys.modules, 'numpy' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == "False False False\n"
