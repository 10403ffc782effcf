"""Every tutorial works, word for word; see docs/tutorials/."""

import re
import shutil

import pytest

from kzoo.errors import UserError
from tests.tutorials.small_world import furnish
from tests.tutorials.tutorial import CHECKOUT, FOLDER, GOES_ON, TUTORIALS, Failed, Follower, read, steps


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with tiny models and data under the names of the real ones."""
    folder = tmp_path_factory.mktemp("world")
    furnish(folder)
    return folder


@pytest.fixture(scope="module")
def followed():
    """By the name of a tutorial the folder in which it has been followed."""
    return {}


@pytest.fixture
def follow(world, followed, tmp_path_factory, monkeypatch):
    def pull(what, **options):
        name = what if isinstance(what, str) else what.name
        places = [world / "pulled" / f"{name}.tsv", world / "pulled" / name, world / name]
        for place in places:
            if place.exists():
                return place
        raise UserError(f"The tutorials' world has no {name}.")

    for module in ("kzoo.data", "kzoo.data.download"):
        monkeypatch.setattr(f"{module}.pull", pull)

    def follow(name):
        before = GOES_ON.get(name)
        if before:
            folder = followed[before] if before in followed else follow(before)
        else:
            folder = tmp_path_factory.mktemp(name) / "work"
            shutil.copytree(world, folder)
            for room in ("configs", "training"):
                (folder / room).symlink_to(CHECKOUT / room)
        monkeypatch.chdir(folder)
        Follower(folder).follow(read(name))
        followed[name] = folder
        return folder

    return follow


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_word_for_word(follow, name):
    follow(name)


def test_a_step_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed, match="(?s)export runs/none.*none"):
        Follower(tmp_path).follow("```sh\nkzoo export runs/none exports/none\n```\n")


def test_the_page_of_tutorials_names_each():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in TUTORIALS if f"({name}.md)" not in page] == []


def test_each_tutorial_has_a_record():
    assert {path.stem for path in (FOLDER / "recorded").glob("*.md")} == set(TUTORIALS)


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_record_of_a_tutorial_has_its_steps_as_they_stand(name):
    record = (FOLDER / "recorded" / f"{name}.md").read_text(encoding="utf-8")
    assert list(steps(record)) == list(steps(read(name)))
    assert re.findall(r"/(?:work|tmp|root|home)/.*", record) == []  # the machine's own
    assert f"recorded/{name}.md" in (FOLDER / "README.md").read_text(encoding="utf-8")
