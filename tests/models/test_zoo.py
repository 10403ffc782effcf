"""The zoo: every preset is well formed, and mistakes in a description are named."""

import subprocess
import sys

import pytest
import yaml

from kzoo import resources
from kzoo.data.catalog import Dataset, dataset, dataset_names, datasets
from kzoo.errors import UserError
from kzoo.models import zoo
from kzoo.models.sources import HubSource, PackageSource, UrlSource, read_description


def description(**more) -> dict:
    return {
        "name": "some-model",
        "title": "Some model",
        "summary": "For the test.",
        "license": "MIT",
        "languages": ["en"],
        "family": "bert",
        "architecture": {"hidden_dim": 8},
        "files": [{"path": "config.json"}],
        "sources": [{"hub": "some/model"}],
        **more,
    }


@pytest.fixture
def refused(tmp_path):
    """The sentence with which a description is refused."""

    def say(**more) -> str:
        path = tmp_path / "model.yaml"
        path.write_text(yaml.safe_dump(description(**more)))
        with pytest.raises(UserError) as error:
            read_description(path, zoo.Preset)
        assert str(error.value).startswith(f"{path}: ")
        return str(error.value).removeprefix(f"{path}: ")

    return say


@pytest.mark.parametrize("preset", zoo.presets(), ids=lambda preset: preset.name)
def test_every_preset_has_its_card_source_and_figures(preset):
    card = preset.card.read_text(encoding="utf-8")
    assert f"kzoo pull {preset.name}" in card
    assert "## Limits" in card or preset.kind == "tokenizer"
    assert preset.license and preset.languages and preset.citation and preset.homepage
    assert preset.architecture["vocabulary_size"] > 0
    paths = {file.path for file in preset.files}
    if preset.kind == "model":
        assert {"config.json", "model.safetensors"} <= paths
        assert preset.parameters and preset.parameters_source
        assert preset.tasks
        weights = next(file for file in preset.files if file.path == "model.safetensors")
        # float32, and a header: the file is a little larger than four bytes a parameter
        assert 4 * preset.parameters <= weights.size < 4.6 * preset.parameters


@pytest.mark.parametrize("described", zoo.presets() + datasets(), ids=lambda described: described.name)
def test_every_file_is_pinned_and_every_hub_revision_is_a_commit(described):
    assert all(file.sha256 for file in described.files)
    for source in described.sources:
        if isinstance(source, HubSource):
            assert len(source.revision) == 40


def test_a_preset_by_name_and_the_nearest_names():
    assert zoo.preset("minilm-l6-v2").architecture["hidden_dim"] == 384
    with pytest.raises(UserError, match=r"no model 'bert-base' \(did you mean bert-base-uncased\?\). It has: .*gpt2"):
        zoo.preset("bert-base")


def test_a_data_set_by_name_and_the_nearest_names():
    assert dataset("movie-reviews").read.label.column == "rating"
    assert "shakespeare" in dataset_names()
    with pytest.raises(UserError, match=r"no data set 'movies' \(did you mean movie-reviews\?\)"):
        dataset("movies")


def test_reading_the_zoo_imports_no_tensorflow():
    program = (
        "import sys; from kzoo.models import zoo; from kzoo.data import datasets, pull, read, split;"
        "zoo.presets(); datasets(); print(sorted({'tensorflow', 'keras', 'httpx'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_sources_are_told_apart_by_their_key(tmp_path):
    sources = [
        {"package": "some", "version": "1.0", "sha256": "a" * 64, "folder": "deep"},
        {"url": "https://example.org/{path}"},
        {"hub": "some/model", "revision": "v1", "names": {"config.json": "other.json"}},
    ]
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(description(sources=sources, files=[{"path": "config.json", "sha256": "b" * 64}])))
    preset = read_description(path, zoo.Preset)
    assert [type(source) for source in preset.sources] == [PackageSource, UrlSource, HubSource]
    (file,) = preset.files
    assert [source.where(file) for source in preset.sources] == ["deep/config.json", "config.json", "other.json"]
    assert preset.sources[1].address(file) == "https://example.org/config.json"
    assert str(preset.sources[0]) == "package some 1.0"


def test_mistakes_in_a_description_are_named(refused):
    assert refused(familly="bert") == "unknown key familly (did you mean family?)."
    assert refused(family=None).startswith("family: Input should be a valid string")
    assert refused(sources=[{"git": "x"}]) == "sources.0: a source has one of the keys package, url and hub."
    assert refused(sources=[]).startswith("sources: List should have at least 1 item")
    assert refused(files=[{"path": "a.txt"}, {"path": "a.txt"}]) == "the description: files must have distinct paths."
    assert "pytorch_model.bin is a pickled file" in refused(files=[{"path": "pytorch_model.bin"}])
    assert "sha256: String should match" in refused(files=[{"path": "a.txt", "sha256": "short"}])
    assert "names files that are not listed: b.txt" in refused(sources=[{"hub": "x/y", "names": {"b.txt": "c.txt"}}])
    assert "must contain {path} to serve 2 files" in refused(
        files=[{"path": "a.txt", "sha256": "a" * 64}, {"path": "b.txt", "sha256": "a" * 64}],
        sources=[{"url": "https://example.org/a.txt"}],
    )
    assert "every file needs its sha256" in refused(sources=[{"url": "https://example.org/{path}"}])


@pytest.mark.parametrize("content", ["name: [", "- a list", ""])
def test_a_file_that_is_no_description(tmp_path, content):
    path = tmp_path / "model.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"model\.yaml (cannot be read as YAML|must hold keys and values)"):
        read_description(path, Dataset)


def test_a_preset_must_be_named_as_its_folder(tmp_path, monkeypatch):
    (tmp_path / "models" / "other").mkdir(parents=True)
    (tmp_path / "models" / "other" / "model.yaml").write_text(yaml.safe_dump(description()))
    monkeypatch.setattr(resources, "folder", lambda room: tmp_path / room)
    with pytest.raises(UserError, match="name must be the folder's name. Received name: some-model"):
        zoo.preset("other")
