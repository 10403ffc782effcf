"""``kzoo generate``: continues a prompt with a GPT-style model on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import print_json
from kzoo.errors import UserError

if TYPE_CHECKING:
    from kzoo.tasks.generate import Generate


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", help="The beginnings to continue.")],
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to add.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="0: the likeliest token; higher: more surprise.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="Draw among the k likeliest tokens; 0: all.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Draw among the fewest tokens that reach this probability; 1: all."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Draw among tokens with this share of the likeliest one's probability."),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(min=0.0, help="Above 1: avoids what the prompt and the text hold.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the text; may be given again.")] = None,
    block: Annotated[
        list[str] | None, typer.Option(help="A word, or words in a row, never to write; may be given again.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="A regular expression that every text matches as a whole: docs/limits.md.")
    ] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="A text of which every answer is one; may be given again.")
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another: min_new_tokens, presence_penalty, frequency_penalty, ..."),
    ] = None,
    sequences: Annotated[int, typer.Option(min=1, help="Texts for each prompt.")] = 1,
    beams: Annotated[int, typer.Option(min=1, help="Search for the likeliest text among so many.")] = 1,
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is what a user says; the answer follows the chat template.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="What the system says before the chat.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text again.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a prompt, for programs.")] = False,
) -> None:
    """Continue prompts with a GPT-style model.

    What is left out is as the model was saved: greedy, unless its task says otherwise.

    \b
    Examples:
      kzoo generate gpt2 "The zoo opened its doors" --max-new-tokens 40
      kzoo generate smollm2-135m-instruct --chat "What is the capital of France?"
      kzoo generate runs/shakespeare "ROMEO:" --temperature 0.8 --top-k 40 --stop "JULIET:"
      kzoo generate gpt2 "The zoo" --beams 4 --repetition-penalty 1.2
      kzoo generate smollm2-135m-instruct --chat "Is the sky blue?" --choice Yes --choice No
    """
    if top_p is not None and top_p <= 0:
        raise UserError(f"--top-p must lie above 0 and at most 1. Received {top_p}.")
    if temperature == 0 and (top_k or (top_p or 1) < 1):
        raise UserError("--top-k and --top-p draw at random, so they need a --temperature above 0, for example 0.8.")
    if temperature == 0 and sequences > 1:
        raise UserError("Without a --temperature above 0 all --sequences would be the same.")
    if beams > 1 and (stop or temperature or sequences > 1):
        raise UserError("--beams searches for the likeliest text: it draws nothing and knows no --stop.")
    more = read_knobs(knob or [])
    from kzoo.cli.opening import open_task

    fixed: dict[str, Any] = {"max_new_tokens": max_new_tokens, "num_sequences": sequences, "num_beams": beams}
    fixed |= {"pattern": pattern, "choices": choice}
    options: dict[str, Any] = {name: value for name, value in fixed.items() if value not in (None, 1)}
    talk: dict[str, Any] = {"chat": True, "system": system} if chat or system is not None else {}
    task = cast("Generate", open_task(model, task="generate", **options, **talk))
    if talk and (task.turn is None or task.system != system):
        raise UserError(f"{model} was saved with its own way to read a prompt. Leave --chat and --system out.")
    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": stop,
        "blocked_words": block,
    }
    knobs = {name: value for name, value in given.items() if value is not None} | more
    for prompt, written in zip(prompts, answers(task, prompts, seed=seed, **knobs), strict=True):
        texts = written if isinstance(written, list) else [written]
        if json:
            print_json({"prompt": prompt, "text": written})
        else:
            for text in texts:
                print(text if task.turn is not None else prompt + text)


def answers(task: Generate, prompts: list[str], *, seed: int, **knobs: Any) -> list[Any]:
    """Texts of prompts: by beams where the task has any, else written one token after the other."""
    if task.writer.num_beams == 1:
        return task.generate(prompts, seed=seed, **knobs)
    return task.search(prompts, **knobs)


def read_knobs(given: list[str]) -> dict[str, Any]:
    """Knobs by name from ``NAME=VALUE``; numbers are numbers."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise UserError(f"--knob takes NAME=VALUE, such as min_new_tokens=10. Received {one!r}.")
        try:
            found[name] = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            found[name] = value
    return found
