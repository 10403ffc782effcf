"""``kzoo explain``: which tokens of a text an answer comes from."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import print_json
from kzoo.cli.predict import beside, gather, inputs_of, is_json, read_columns
from kzoo.errors import UserError

_FOR, _AGAINST = (46, 160, 67), (218, 54, 51)  # colours of what speaks for an answer, and against it
_DARKEST = 0.85  # of a colour
_FAIR = 0.3  # of the strongest token's share


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What to explain the answer to.")] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="For a model of pairs: the second text; once for each TEXT."),
    ] = None,
    file: Annotated[
        str,
        typer.Option(metavar="PATH", help="A file with one text a line, or JSON Lines; - for standard input."),
    ] = "",
    target: Annotated[
        str, typer.Option(metavar="LABEL", help="The label to explain; by default the likeliest of each text.")
    ] = "",
    method: Annotated[
        str, typer.Option(help="integrated_gradients, or gradient_times_input, which is quick and rough.")
    ] = "integrated_gradients",
    steps: Annotated[int, typer.Option(min=1, help="Points at which the gradient is taken.")] = 32,
    baseline: Annotated[
        str, typer.Option(help="What a token is compared with: zero, pad or mask, the vector of that token.")
    ] = "zero",
    task: Annotated[str, typer.Option(help="classify or regress, for a checkpoint that does not say.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a text, for programs.")] = False,
) -> None:
    """Show which tokens an answer comes from.

    Green tokens speak for the answer, red ones against it, the stronger the deeper their colour; all of them together
    are the way from the score of a text that says nothing to that of this text. JSON with --json or into a pipe.

    \b
    Examples:
      kzoo explain runs/movie-reviews "A film to remember, if only for its ending."
      kzoo explain runs/movie-reviews "Not bad at all." --target negative
      kzoo explain runs/entailment "A dog runs." --pair "An animal moves." --json
    """
    from_json = bool(file) and not texts and is_json(file)
    questions = read_columns(file) if from_json else beside(gather(texts, file), pair=pair)
    from kzoo.cli.opening import open_task

    opened: Any = open_task(model, task=task)
    if not hasattr(opened, "explain"):
        raise UserError(f"Only the tasks classify and regress explain their answers. {model} is for {opened.name}.")
    questions = inputs_of(model, list(opened.inputs), questions)
    explained = opened.explain(questions, target=target, method=method, steps=steps, baseline=baseline)
    rows = [dict(zip(questions, row, strict=True)) for row in zip(*questions.values(), strict=True)]
    for inputs, found in zip(rows, explained, strict=True):
        if json or not sys.stdout.isatty():
            print_json(inputs | found)
        else:
            _print(inputs, found)


def _print(inputs: dict[str, str], found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{sentence(found)}[/bold]", highlight=False)
    for place, text in enumerate(inputs.values()):
        few = console.color_system in (None, "standard")
        console.print(coloured(text, found["tokens"], place, few=few), soft_wrap=True)
    console.print(strongest(found["tokens"]), markup=False, highlight=False)
    console.print()


def sentence(found: dict[str, Any]) -> str:
    """Returns the answer, what it would be without the text, and how exact the tokens' shares are, in one line."""
    label = f"{found['label']} " if "label" in found else ""
    return (
        f"{label}{found['score']:.4f} (a text that says nothing: {found['baseline_score']:.4f}; "
        f"not explained: {found['gap']:+.1e})"
    )


def strongest(tokens: list[dict[str, Any]], most: int = 5) -> str:
    """Returns the tokens that speak most for the answer and most against it, with their attributions, in one line."""
    order = sorted(tokens, key=lambda token: -abs(token["attribution"]))[:most]
    said = []
    for name, sign in (("for", 1), ("against", -1)):
        listed = [f"{one['token']} {one['attribution']:+.3f}" for one in order if one["attribution"] * sign > 0]
        said += [f"{name}: {', '.join(listed)}"] if listed else []
    return "; ".join(said) or "no token has a share"


def coloured(text: str, tokens: list[dict[str, Any]], place: int = 0, *, few: bool = False) -> Any:
    """Returns a text whose tokens have the colours of their attributions, as ``rich`` prints it.

    Args:
        text: as it was asked about.
        tokens: of the explanation, of all texts of a pair; the strongest of them has the deepest colour.
        place: which text of a pair this is.
        few: whether the terminal has no shades, so that only tokens of a fair share get a colour.
    """
    from rich.text import Text

    shown = Text(text)
    strongest = max((abs(token["attribution"]) for token in tokens), default=0.0) or 1.0
    for token in tokens:
        if token.get("text_index", 0) == place:
            share = abs(token["attribution"]) / strongest
            is_for = token["attribution"] > 0
            red, green, blue = (round(255 + (one - 255) * _DARKEST * share) for one in (_FOR if is_for else _AGAINST))
            style = f"black on rgb({red},{green},{blue})"
            if few:
                style = "" if share < _FAIR else "black on green" if is_for else "black on red"
            shown.stylize(style, token["start"], token["end"])
    return shown
