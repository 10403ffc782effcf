"""The README and the guides say only what is there: commands, options, names, files."""

import re
import shlex
from pathlib import Path

import pytest
import typer

import kzoo
from kzoo.cli.main import app

CHECKOUT = Path(__file__).resolve().parent.parent
GUIDES = [
    "README.md",
    "CONTRIBUTING.md",
    "configs/README.md",
    "training/README.md",
    "training/local/README.md",
    *(str(path.relative_to(CHECKOUT)) for path in sorted((CHECKOUT / "docs").rglob("*.md"))),
]


def texts() -> dict[str, str]:
    return {name: (CHECKOUT / name).read_text(encoding="utf-8") for name in GUIDES}


def commands() -> list[tuple[str, str]]:
    found = []
    for name, text in texts().items():
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
        for line in "\n".join(blocks).splitlines():
            match = re.search(r"\bkzoo (?=[a-z])(.*)", line)
            if match:
                found.append((name, match.group(1).split(" > ")[0].split(";")[0].rstrip("&")))
    return found


def test_there_are_commands_to_check():
    assert len(commands()) >= 8


@pytest.mark.parametrize(("guide", "line"), commands())
def test_every_command_is_one_with_options_that_exist(guide, line):
    name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    if hasattr(command, "commands") and not (command.invoke_without_command and words[0].startswith("-")):
        command = command.commands[words[0]]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in options] == []


def test_every_config_that_is_named_is_there():
    named = {path for text in texts().values() for path in re.findall(r"\bconfigs/[\w/.-]+\.yaml", text)}
    assert named
    assert [path for path in named if not (CHECKOUT / path).is_file()] == []


def test_every_link_leads_somewhere():
    broken = []
    for name, text in texts().items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target and not (CHECKOUT / name).parent.joinpath(target).exists():
                broken.append((name, target))
    assert broken == []


def test_every_name_of_kzoo_in_the_python_examples_is_there():
    examples = re.findall(r"```python\n(.*?)```", texts()["README.md"], re.DOTALL)
    for example in examples:
        compile(example, "README.md", "exec")
    names = set(re.findall(r"\bkzoo\.(\w+)", "\n".join(examples)))
    assert {"Classify", "fit", "export", "load"} <= names
    assert [name for name in names if not hasattr(kzoo, name)] == []


def test_every_make_target_that_is_named_is_there():
    targets = set(re.findall(r"^(\w+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {target for text in texts().values() for target in re.findall(r"`make (?:\w+=\S+ )?(\w+)", text)}
    assert named
    assert named <= targets


def test_the_table_of_families_is_the_zoo():
    from kzoo.models import zoo

    table = texts()["README.md"].partition("## The models")[2].partition("\n\n```")[0]
    families = [name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split(" | ")[0])]
    assert sorted(families) == sorted({preset.family for preset in zoo.presets()})
