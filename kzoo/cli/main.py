"""The ``kzoo`` command: its commands, and what happens when one fails.

Nothing heavy is imported here or at the top of a command's file, so that ``kzoo --help`` answers at once; a command
imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kzoo.cli import (
    audit,
    bundle,
    card,
    conformance,
    data,
    demo,
    evaluate,
    explain,
    export,
    few_shot,
    generate,
    index,
    launch,
    models,
    predict,
    prepare,
    promote,
    pull,
    query,
    search,
    serve,
    sweep,
    tokenizer,
    train,
    tune,
    versions,
)
from kzoo.cli.output import say
from kzoo.cli.quiet import keep_quiet
from kzoo.errors import UserError
from kzoo.exit_codes import BUG, INTERRUPTED, MISTAKE
from kzoo.version import __version__


class Commands(TyperGroup):
    """The group of commands, in which every failure becomes one sentence and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Keeps the order in which one uses them, not the alphabet's."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; ``--debug`` lets a failure through with its traceback."""
        if ctx.params.get("debug"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except UserError as error:
            _fail(str(error), MISTAKE)
        except KeyboardInterrupt as stop:  # a training run says what it saved and how to go on
            message = getattr(stop, "message", "Interrupted; nothing more was written.")
            _fail(message, getattr(stop, "exit_code", INTERRUPTED), kind="stopped")
        except BrokenPipeError:  # the reader of our output went away, as `| head` does
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise typer.Exit(0) from None
        except OSError as error:
            _fail(explain_system(error), MISTAKE)
        except MemoryError:
            _fail("The machine has no memory left. Try a smaller batch size or a smaller model.", BUG)
        except Exception as error:
            if type(error).__module__.startswith("typer"):
                raise  # asked for by the command, or a usage error: Typer shows it with the command's usage
            if "No space left on device" in str(error):  # as TensorFlow and HDF5 report it
                _fail("The disk is full. Free some space, or name a folder on another disk.", MISTAKE)
            _fail(explain_unexpected(error), BUG)


def explain_system(error: OSError) -> str:
    """Returns one sentence for an operating system's error: what, where, and the remedy where one is known."""
    where = f" {error.filename}" if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full: could not write{where}. Free some space, or name a folder on another disk."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"No permission to use{where}. Name another place, or change its permissions."
        case errno.ENOENT:
            return f"There is no file or folder{where}. Check the path."
        case errno.EADDRINUSE:
            return f"The port is taken{where}. Name another, or stop what listens there."
        case errno.EISDIR | errno.ENOTDIR | errno.EEXIST:
            return f"{os.strerror(error.errno)}:{where}."
    return f"{error.strerror or error}{':' + where if where else ''}."


def explain_unexpected(error: Exception) -> str:
    """Returns one sentence for an error nobody foresaw, and how to see more of it."""
    lines = str(error).strip().splitlines() or [""]
    return (
        f"{type(error).__name__}: {lines[0][:300]} "
        "(unexpected, perhaps a bug in kzoo: the same command with --debug shows where)"
    )


def _fail(sentence: str, code: int, *, kind: str = "error") -> None:
    say(f"{kind}: {sentence}")
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"kzoo {__version__}")
        raise typer.Exit()


def kzoo(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback when something fails.")] = False,
) -> None:
    """A model zoo for Keras 3 on TensorFlow: train, export models that take text and give text, serve them with
    TensorFlow Serving.

    New here? Try [bold]kzoo demo[/bold]: it fine-tunes a sentiment classifier on movie reviews, serves it on this
    machine and asks it questions, in a few minutes.

    A usual day: [bold]kzoo models[/bold], [bold]kzoo pull minilm-l6-v2[/bold], [bold]kzoo train
    configs/classify/movie-reviews.yaml[/bold], then [bold]evaluate[/bold], [bold]export[/bold], [bold]bundle[/bold],
    [bold]serve[/bold] and [bold]query[/bold]. Each command explains itself: [bold]kzoo train --help[/bold].
    """


def paragraphs(text: str) -> str:
    """Returns a docstring with each paragraph on one line, to be wrapped anew; examples keep their lines."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else " ".join(part.split()) for part in parts)


app.callback(help=paragraphs(kzoo.__doc__ or ""))(kzoo)
for _command in (
    models.models,
    card.card,
    pull.pull,
    train.train,
    sweep.sweep,
    launch.launch,
    evaluate.evaluate,
    few_shot.few_shot,
    predict.predict,
    index.index,
    search.search,
    explain.explain,
    generate.generate,
    export.export,
    audit.audit,
    bundle.bundle,
    serve.serve,
    tune.tune,
    query.query,
    versions.versions,
    promote.promote,
    promote.rollback,
    demo.demo,
):
    app.command(help=paragraphs(_command.__doc__ or ""))(_command)
tokenizer.app.command(help=paragraphs(tokenizer.train.__doc__ or ""))(tokenizer.train)
app.add_typer(tokenizer.app, name="tokenizer")
data.app.command(help=paragraphs(prepare.prepare.__doc__ or ""))(prepare.prepare)
data.app.command(help=paragraphs(data.tokenize.__doc__ or ""))(data.tokenize)
data.app.command(help=paragraphs(data.verify.__doc__ or ""))(data.verify)
app.add_typer(data.app, name="data")
conformance.app.callback(invoke_without_command=True, help=paragraphs(conformance.conformance.__doc__ or ""))(
    conformance.conformance
)
conformance.app.command(name="models", help=paragraphs(conformance.write_models.__doc__ or ""))(
    conformance.write_models
)
app.add_typer(conformance.app, name="conformance")


def main() -> None:
    """Runs the command line: the entry point of ``kzoo`` and ``python -m kzoo``."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:  # wherever it stands, as one adds it at the end of the command that failed
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    else:
        keep_quiet()
    app(args=arguments, prog_name="kzoo")
