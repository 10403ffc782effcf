"""The hub's protocol, spoken by a local server."""

import hashlib

import pytest

from kzoo.data.download import pull
from kzoo.errors import UserError
from kzoo.models.zoo import Preset

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG, WEIGHTS = b'{"model_type": "bert"}', b"weights" * 1000
BASE = f"/some/model/resolve/{COMMIT}"


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(site, cache, sha256, monkeypatch):
    """The server as a hub: small files with their git sha1, large ones behind a redirect that announces the sha256."""
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    site.files |= {f"{BASE}/config.json": CONFIG, "/cdn/weights": WEIGHTS}
    site.headers[f"{BASE}/config.json"] = {"ETag": f'"{git_sha1(CONFIG)}"', "X-Repo-Commit": COMMIT}
    site.redirects[f"{BASE}/model.safetensors"] = "/cdn/weights"
    site.headers[f"{BASE}/model.safetensors"] = {
        "X-Linked-ETag": f'"{sha256(WEIGHTS)}"',
        "X-Linked-Size": str(len(WEIGHTS)),
        "X-Repo-Commit": COMMIT,
    }
    return site


def preset(**more) -> Preset:
    return Preset.model_validate(
        {
            "name": "some-model",
            "title": "Some model",
            "summary": "For the test.",
            "license": "MIT",
            "languages": ["en"],
            "family": "bert",
            "architecture": {},
            "files": [{"path": "config.json"}, {"path": "model.safetensors"}],
            "sources": [{"hub": "some/model", "revision": COMMIT}],
            **more,
        }
    )


def test_files_of_a_revision_are_resolved_and_checked_against_what_the_hub_announces(hub, cache):
    folder = pull(preset())
    assert folder == cache / "some-model"
    assert (folder / "config.json").read_bytes() == CONFIG
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.paths() == [f"{BASE}/config.json", f"{BASE}/model.safetensors", "/cdn/weights"]
    pull(preset())
    assert len(hub.asked) == 3


def test_damage_on_the_way_is_noticed_without_a_pin(hub):
    hub.files["/cdn/weights"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(UserError, match="model.safetensors of hub repository some/model at 0123456789ab was damaged"):
        pull(preset())


def test_small_files_are_checked_by_their_git_sha1(hub):
    hub.files[f"{BASE}/config.json"] = b"{}"
    with pytest.raises(UserError, match="config.json of hub repository .* was damaged"):
        pull(preset())


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, monkeypatch):
    elsewhere = hub.address.replace("127.0.0.1", "localhost")
    hub.redirects[f"{BASE}/model.safetensors"] = f"{elsewhere}/cdn/weights"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull(preset())
    assert [secret for _, _, secret in hub.asked] == ["Bearer hf_secret", "Bearer hf_secret", None]


def test_the_token_is_found_where_the_hubs_client_keeps_it(hub, tmp_path):
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("hf_stored\n")
    pull(preset(files=[{"path": "config.json"}]))
    assert hub.asked[0][2] == "Bearer hf_stored"


def test_a_gated_repository_asks_for_a_token(hub):
    hub.faults[f"{BASE}/config.json"] = [401]
    with pytest.raises(UserError, match="answered 401 Unauthorized.*may need a token: set HF_TOKEN"):
        pull(preset())


def test_offline_nothing_is_asked_and_the_remedy_names_revision_and_folder(hub, cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as error:
        pull(preset())
    assert "HF_HUB_OFFLINE is set" in str(error.value)
    assert f"hf download some/model config.json model.safetensors --revision {COMMIT}" in str(error.value)
    assert f"put the files into {cache / 'some-model'}/" in str(error.value)
    assert not hub.asked


@pytest.mark.parametrize("revision", [COMMIT, "main"])
def test_what_the_hubs_client_has_is_taken_from_its_cache(hub, tmp_path, monkeypatch, revision):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = tmp_path / "huggingface" / "hub" / "models--some--model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs").mkdir()
    for name, content in (("config.json", CONFIG), ("model.safetensors", WEIGHTS)):
        (repository / "blobs" / name).write_bytes(content)
        (snapshot / name).symlink_to(repository / "blobs" / name)
    folder = pull(preset(sources=[{"hub": "some/model", "revision": revision}]))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "model.safetensors").is_symlink()
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS
    assert not hub.asked


def test_other_names_and_folders_at_the_hub(hub):
    hub.files[f"{BASE}/deep/vocab.json"] = b"{}"
    source = {"hub": "some/model", "revision": COMMIT, "folder": "deep", "names": {"encoder.json": "vocab.json"}}
    folder = pull(preset(files=[{"path": "encoder.json"}], sources=[source]))
    assert (folder / "encoder.json").read_bytes() == b"{}"


def test_a_pinned_sha256_counts_more_than_what_the_hub_says(hub):
    with pytest.raises(UserError, match=f"has sha256 {hashlib.sha256(CONFIG).hexdigest()}, but {'1' * 64} is expected"):
        pull(preset(files=[{"path": "config.json", "sha256": "1" * 64}]))
