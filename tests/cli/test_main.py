import errno
import json
import subprocess
import sys
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from kzoo.cli import main as cli
from kzoo.errors import UserError
from kzoo.version import __version__

COMMANDS = [
    "models",
    "pull",
    "train",
    "evaluate",
    "predict",
    "generate",
    "export",
    "audit",
    "bundle",
    "serve",
    "query",
    "demo",
]
HEAVY = [
    "fastapi",
    "grpc",
    "keras",
    "keras_hub",
    "numpy",
    "pydantic",
    "starlette",
    "tensorflow",
    "tensorflow_text",
    "tokenizers",
    "yaml",
]


def failing(error: BaseException):
    """A command line with one command, `fail`, that raises."""
    app = typer.Typer(cls=cli.Commands)
    app.callback()(cli.kzoo)

    @app.command()
    def fail():
        raise error

    return app


def test_help_loads_nothing_heavy():
    code = (
        "import json, sys\n"
        "sys.argv = ['kzoo', '--help']\n"
        "from kzoo.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(asked.stdout.splitlines()[-1])
    assert "kzoo" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_help_names_every_command_in_the_order_of_use(run):
    text = run("--help").output
    places = [text.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run, command):
    answer = run(command, "--help")
    assert answer.exit_code == 0
    assert "Usage: kzoo" in answer.output
    if command not in ("models", "demo"):
        assert "Examples:" in answer.output


def test_version(run):
    answer = run("--version")
    assert (answer.exit_code, answer.output) == (0, f"kzoo {__version__}\n")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("num_heads must divide hidden_dim."), 2, "error: num_heads must divide hidden_dim.\n"),
        (FileNotFoundError(errno.ENOENT, "no", "/x/y"), 2, "error: There is no file or folder /x/y. Check the path.\n"),
        (
            PermissionError(errno.EACCES, "no", "/x/y"),
            2,
            "error: No permission to use /x/y. Name another place, or change its permissions.\n",
        ),
        (
            OSError(errno.ENOSPC, "no", "/x/y"),
            2,
            "error: The disk is full: could not write /x/y. Free some space, or name a folder on another disk.\n",
        ),
        (
            RuntimeError("write failed; No space left on device [Op:Save]\nmore"),
            2,
            "error: The disk is full. Free some space, or name a folder on another disk.\n",
        ),
        (KeyboardInterrupt(), 130, "stopped: Interrupted; nothing more was written.\n"),
        (
            KeyError("oops"),
            1,
            "error: KeyError: 'oops' (unexpected, perhaps a bug in kzoo: the same command with --debug shows where)\n",
        ),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(error, code, sentence):
    answer = CliRunner().invoke(failing(error), ["fail"])
    assert (answer.exit_code, answer.stderr) == (code, sentence)


def test_an_interrupted_run_says_what_it_saved():
    stop = KeyboardInterrupt()
    stop.message, stop.exit_code = "Saved at step 12. The same command goes on.", 143
    answer = CliRunner().invoke(failing(stop), ["fail"])
    assert (answer.exit_code, answer.stderr) == (143, "stopped: Saved at step 12. The same command goes on.\n")


def test_debug_lets_the_traceback_through():
    answer = CliRunner().invoke(failing(UserError("a mistake")), ["--debug", "fail"])
    assert isinstance(answer.exception, UserError)


def test_debug_may_stand_at_the_end():
    asked = subprocess.run(
        [sys.executable, "-m", "kzoo", "pull", "nonsense", "--debug"],
        capture_output=True,
        text=True,
    )
    assert asked.returncode != 0
    assert "Traceback" in asked.stderr


def test_a_command_that_does_not_exist(run):
    answer = run("sevre")
    assert answer.exit_code == 2
    assert "No such command 'sevre'" in answer.stderr


def test_the_runners_are_those_of_serving():
    from kzoo.cli.serve import Runner
    from kzoo.serving.launch import RUNNERS

    assert get_args(Runner) == RUNNERS
