"""``kzoo predict``: asks a model on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import print_json, print_table
from kzoo.errors import UserError


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What to ask about.")] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="For a model of pairs: the second text; once for each TEXT."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="For a model that answers questions: the passage; once for all TEXTs or once for each."
        ),
    ] = None,
    file: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="A file with one text a line; - for standard input. Of a model with several inputs JSON Lines, or "
            "questions in SQuAD's layout.",
        ),
    ] = "",
    task: Annotated[str, typer.Option(help="classify, embed or generate, for a checkpoint that does not say.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at once.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a text, for programs.")] = False,
) -> None:
    """Ask a model about texts.

    A table on a terminal, one JSON object a line with --json or into a pipe.

    \b
    Examples:
      kzoo predict runs/movie-reviews "A film to remember." "Never again."
      kzoo predict minilm-l6-v2 "A sentence to turn into a vector." --json
      kzoo predict runs/movie-reviews --file reviews.txt > answers.jsonl
      kzoo predict runs/entailment "A dog runs." --pair "An animal moves."
      kzoo predict runs/squad "Who serves?" --context "The zoo serves models."
      kzoo predict runs/squad --file questions.jsonl
    """
    from_json = bool(file) and not texts and is_json(file)
    questions = read_columns(file) if from_json else beside(gather(texts, file), pair=pair, context=context)
    from kzoo.cli.opening import open_task

    opened = open_task(model, task=task)
    questions = inputs_of(model, list(opened.inputs), questions)
    answers = opened.predict(questions, batch_size=batch_size)
    texts = next(iter(questions.values()))
    show(texts, answers, json=json or not sys.stdout.isatty())


def beside(
    texts: list[str], *, pair: list[str] | None = None, context: list[str] | None = None
) -> dict[str, list[str]]:
    """Returns texts with what stands beside each, by the names of a task's inputs; texts alone are ``text``."""
    if pair is not None and context is not None:
        raise UserError("--pair gives second texts, --context passages of questions. Give one of them.")
    if pair is not None:
        if len(pair) != len(texts):
            raise UserError(f"--pair stands once for each text. Received {len(pair)} for {len(texts)}.")
        return {"text": texts, "text_pair": pair}
    if context is None:
        return {"text": texts}
    if len(context) not in (1, len(texts)):
        raise UserError(f"--context stands once, or once for each question. Received {len(context)} for {len(texts)}.")
    return {"question": texts, "context": context * (len(texts) if len(context) == 1 else 1)}


def inputs_of(model: str, wanted: list[str], given: dict[str, list[str]]) -> dict[str, list[str]]:
    """Returns what the model reads of what is given; UserError says which option is missing or too many."""
    if len(wanted) == 1 and list(given) == ["text"]:
        return {wanted[0]: given["text"]}  # a prompt is a text, too
    if set(wanted) <= set(given) and (len(wanted) > 1 or "text_pair" not in given):
        return {name: given[name] for name in wanted}
    remedies = {"text_pair": "two texts: add --pair TEXT", "context": "a question and a passage: add --context TEXT"}
    remedy = remedies.get(wanted[-1], f"one text: leave {'--pair' if 'text_pair' in given else '--context'} out")
    if not set(given) <= {"text", "text_pair", "question", "context"}:  # of a file
        remedy = f"{' and '.join(wanted)}. The file has {', '.join(given)}"
    raise UserError(f"The model {model} reads {remedy}.")


def is_json(file: str) -> bool:
    """Whether a file's suffix is one of JSON, whose values have names."""
    return Path(file).suffix.lower() in (".json", ".jsonl", ".ndjson")


def read_columns(file: str) -> dict[str, list[str]]:
    """Returns the columns of texts of a JSON file, by their names."""
    from kzoo import data

    if not Path(file).is_file():
        raise UserError(f"There is no file {file}.")
    examples = data.read(file)
    return {name: examples[name].tolist() for name in examples if isinstance(examples[name][0], str)}


def gather(texts: list[str] | None, file: str) -> list[str]:
    """Returns the texts of the command line or of the file, one a line; UserError when there are none."""
    if texts and file:
        raise UserError("Give texts or --file, not both.")
    if file:
        return read_lines(file)
    if not texts:
        raise UserError(
            'There is no text to ask about. Write it behind the model ("A film to remember."), or use --file.'
        )
    return texts


def read_lines(file: str) -> list[str]:
    """Reads one text a line, UTF-8; UserError names the file and the line that is not."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; --file takes a file with one text a line.") from None
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{file}, line {number}: not valid UTF-8. Save the file as UTF-8.") from None
    if not texts:
        raise UserError(f"{file} is empty; --file takes a file with one text a line.")
    return texts


def show(texts: list[str], answers: list[dict[str, Any]], *, json: bool) -> None:
    """Prints answers beside their texts: as JSON lines, or as a table for a person."""
    if json:
        for text, answer in zip(texts, answers, strict=True):
            print_json({"input": text, **answer})
        return
    answers = [with_entities(answer) for answer in answers]
    columns = [name for name in answers[0] if name != "classes"]
    print_table(
        ["input", *columns],
        [
            (shorten(text, 60), *(for_a_person(answer, name) for name in columns))
            for text, answer in zip(texts, answers, strict=True)
        ],
    )


def for_a_person(answer: dict[str, Any], name: str) -> str:
    """Returns one answer's value in a few words: scores with their classes, the head of a vector."""
    value = answer[name]
    if name == "scores" and "classes" in answer:
        pairs = sorted(zip(answer["classes"], value, strict=True), key=lambda pair: -pair[1])
        shown = ", ".join(f"{label} {score:.3f}" for label, score in pairs[:3])
        return shown + (f", and {len(pairs) - 3} more" if len(pairs) > 3 else "")
    if name == "entities":
        return ", ".join(f"{one['text']} ({one['type']} {one['score']:.3f})" for one in value) or "none"
    if name == "labels":
        return ", ".join(filter(None, value)) or "none"
    if isinstance(value, list) and value and isinstance(value[0], float):
        head = " ".join(f"{number:.3f}" for number in value[:4])
        return f"{head} ... ({len(value)} numbers)" if len(value) > 4 else head
    return str(value)


def with_entities(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns a tagger's answer as a server gives it, in lists of equal length, as one list of entities."""
    names = ("text", "type", "score")
    if set(answer) != {*names, "start", "end", "count"}:
        return answer
    rows = list(zip(*(answer[name] for name in names), strict=True))[: answer["count"]]
    return {"entities": [dict(zip(names, row, strict=True)) for row in rows]}


def shorten(text: str, length: int) -> str:
    """Returns at most ``length`` characters on one line."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
