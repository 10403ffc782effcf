"""Every tutorial works, word for word; see docs/tutorials/."""

import shutil

import pytest

from kzoo.errors import UserError
from tests.tutorials.small_world import furnish
from tests.tutorials.tutorial import CHECKOUT, FOLDER, Failed, Follower

TUTORIALS = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")
NEEDS = {"operate": ["classify"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with tiny models and data under the names of the real ones."""
    folder = tmp_path_factory.mktemp("world")
    furnish(folder)
    return folder


@pytest.fixture
def follower(world, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(world, folder)
    for name in ("configs", "training"):
        (folder / name).symlink_to(CHECKOUT / name)
    monkeypatch.chdir(folder)

    def pull(what, **options):
        name = what if isinstance(what, str) else what.name
        places = [folder / "pulled" / f"{name}.tsv", folder / "pulled" / name, folder / name]
        for place in places:
            if place.exists():
                return place
        raise UserError(f"The tutorials' world has no {name}.")

    for module in ("kzoo.data", "kzoo.data.download"):
        monkeypatch.setattr(f"{module}.pull", pull)
    return Follower(folder)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_word_for_word(follower, name):
    for before in NEEDS.get(name, []):
        text = (FOLDER / f"{before}.md").read_text(encoding="utf-8")
        follower.follow(text.partition("## How good is it?")[0])
    follower.follow((FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def test_a_step_that_fails_is_told(follower):
    with pytest.raises(Failed, match="(?s)export runs/none.*none"):
        follower.follow("```sh\nkzoo export runs/none exports/none\n```\n")


def test_the_page_of_tutorials_names_each():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in TUTORIALS if f"({name}.md)" not in page] == []
