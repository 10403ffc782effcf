"""The rooms beside the library are found in a checkout and in an installed package, from any working directory."""

import pytest

from kzoo import resources
from kzoo.errors import UserError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package folder with nothing around it."""
    folder = tmp_path / "kzoo"
    folder.mkdir()
    monkeypatch.setattr(resources, "_package", folder)
    return folder


def test_in_a_checkout_the_sibling_folder_is_used(package):
    (package.parent / "setup.cfg").write_text("")
    (package.parent / "models").mkdir()
    (package / "_resources" / "models").mkdir(parents=True)
    assert resources.folder("models") == package.parent / "models"


def test_without_setup_cfg_the_package_data_is_used(package):
    (package.parent / "models").mkdir()
    (package / "_resources" / "models").mkdir(parents=True)
    assert resources.folder("models") == package / "_resources" / "models"


def test_a_damaged_installation_is_named(package):
    with pytest.raises(UserError, match="This installation of kzoo lacks its folder configs/.*Reinstall"):
        resources.folder("configs")


def test_from_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resources.find("models", "minilm-l6-v2", "model.yaml").is_file()


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match="kzoo has no configs/data/nothing.yaml"):
        resources.find("configs", "data", "nothing.yaml")


def test_only_the_known_rooms():
    with pytest.raises(ValueError, match="room must be one of models, configs, serving. Received room='docs'"):
        resources.folder("docs")
