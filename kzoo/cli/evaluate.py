"""``kzoo evaluate``: how good a model is on labelled data."""

from __future__ import annotations

import json as json_module
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import duration, print_json, print_table, say
from kzoo.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kzoo.data import Examples
    from kzoo.data.token_folder import TokenFolder
    from kzoo.tasks.task import Task
    from kzoo.training.judging import Judgement


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file or a data set; of a run: left out for its held-out rows.")
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the texts, unless it is called text.")
    ] = "",
    text_pair: Annotated[
        str, typer.Option(metavar="COLUMN", help="That of second texts, unless it is called text_pair.")
    ] = "",
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of the labels, unless it is called label.")
    ] = "",
    prompt: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a language model: that of prompts, unless it is called prompt.")
    ] = "",
    answer: Annotated[
        str, typer.Option(metavar="COLUMN", help="That of their right answers, unless it is called answer.")
    ] = "",
    format: Annotated[str, typer.Option(help="csv, tsv, jsonl, conll, squad or text; by default by the suffix.")] = "",
    task: Annotated[str, typer.Option(help="classify, embed, ... for a checkpoint that does not say.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Of the task, for such a checkpoint: max_new_tokens=32. May be repeated."
        ),
    ] = None,
    output: Annotated[
        str, typer.Option(metavar="DIR", help="Write metrics.json and report.html, a page with plots, into it.")
    ] = "",
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Read DATA as one long text in windows that begin so many tokens apart."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=2, help="Tokens of such a window; by default all that the model reads.")
    ] = None,
    detokenize: Annotated[
        bool, typer.Option("--detokenize", help="Put the tokens of WikiText's files together first.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(min=2, help="Of a language model: let it go on from so many lines, and measure how they differ."),
    ] = None,
    learn_threshold: Annotated[
        bool,
        typer.Option(
            "--learn-threshold",
            help="Of a model that answers questions: keep the threshold of no answer that is best for DATA's F1.",
        ),
    ] = False,
    slices: Annotated[
        str,
        typer.Option(
            metavar="COLUMN[,..]", help="Of a classifier: its accuracy by the values of columns, or by length (words)."
        ),
    ] = "",
    counterfactuals: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Of a classifier: exchange terms of this list (YAML, CSV), and see what changes."
        ),
    ] = "",
    typos: Annotated[
        bool, typer.Option("--typos", help="Of a classifier: its accuracy on mistyped texts, at several rates.")
    ] = False,
    membership: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Of a classifier: whether its loss tells these rows, which it learned from, from those measured; "
            "run for the training rows of the run itself.",
        ),
    ] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at once; the result does not depend on it.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Measure a model on labelled data, nothing dropped.

    A classifier gets accuracy, F1, Matthews' correlation and calibration, a regressor its errors and correlations, a
    language model its perplexity and, of prompts with answers, BLEU, chrF and ROUGE of what it writes, an embedder (of
    pairs with a number) its correlations or how many texts find their pair, a model that answers questions SQuAD's
    exact match and F1; with 95% intervals. Measure on rows that the model has not learned from: without DATA, a run is
    measured on those it held out.

    \b
    Examples:
      kzoo evaluate runs/movie-reviews
      kzoo evaluate runs/movie-reviews reviews.csv --text review --label sentiment --output judged
      kzoo evaluate runs/movie-reviews --slices length,label --typos --counterfactuals terms.yaml --output judged
      kzoo evaluate runs/writer wiki.test.txt --stride 512
      kzoo evaluate runs/squad dev-v2.0.json --learn-threshold
      kzoo evaluate smollm2-135m-instruct pairs.jsonl --option chat=true --option max_new_tokens=32
    """
    start = time.perf_counter()
    if stride is None and (window is not None or detokenize):
        raise UserError("--window and --detokenize belong to --stride, which reads DATA as one long text.")
    if stride is not None and samples is not None:
        raise UserError("--samples begin from the lines of DATA, which --stride reads as one text. Give one of them.")
    if stride is not None and not data:
        raise UserError("--stride reads one long text: name its file behind the model.")
    if stride is not None and (slices or counterfactuals or typos or membership):
        raise UserError(
            "--slices, --counterfactuals, --typos and --membership measure labelled rows, not one long text (--stride)."
        )
    from kzoo.cli.opening import open_task

    by = [name.strip() for name in slices.split(",") if name.strip()]
    theirs = {"text": text, "text_pair": text_pair, "label": label, "prompt": prompt, "answer": answer}
    # mistakes are told before TensorFlow's seconds
    terms = read_counterfactuals(counterfactuals) if counterfactuals else None
    held_out = None if data else held_out_rows(model)
    long_text = read_text(data) if stride is not None else ""
    options = read_options(option or [])
    opened = open_task(model, task=task, **options)
    check_kept(model, opened, options)
    if learn_threshold:
        check_threshold(model, opened)
    from kzoo.training.judging import Judgement, judge

    flattered = f"It learned from rows of {data}, so the figures flatter it." if learned_from(model, data) else ""
    if flattered:
        say(f"Note: {flattered} Without DATA a run is measured on the rows that it held out, if any.")
    if stride is not None:
        from kzoo.training.judging.long_text import judge_long_text

        further = Judgement(figures={})
        source, size = data, f"{len(long_text):,} characters"
        say(f"Measuring {model} on {size} of {data} ...")
        found = judge_long_text(
            opened, long_text, length=window, stride=stride, detokenize=detokenize, batch_size=min(batch_size, 4)
        )
    else:
        examples = held_out or read_examples(data, opened, theirs=theirs, format=format, by=by)
        source, size = examples.source, f"{len(examples):,} rows"
        say(f"Measuring {model} on {len(examples)} rows of {source} ...")
        found = judge(opened, examples, batch_size=batch_size)
        if samples is not None:
            from kzoo.training.judging.diversity import judge_samples

            found += judge_samples(opened, examples, samples)
        further = judge_robustness(opened, examples, by=by, terms=terms, typos=typos, batch_size=batch_size)
        if membership:
            from kzoo.training.judging.membership import judge_membership

            members = (
                rows_of_run(model)[0]
                if membership == "run"
                else read_examples(membership, opened, theirs=theirs, format=format)
            )
            others: Any = examples
            found += judge_membership(opened, members, others, batch_size=batch_size)
        found += further
    results = {"model": model, "data": source} | found.figures
    if output:
        facts = {"model": model, "task": opened.name, "data": f"{source}, {size}"}
        facts |= {"learned from": flattered} if flattered else {}
        write(Path(output).expanduser(), results, found, title=f"Evaluation of {model}", facts=facts)
        say(f"Written: {output}/metrics.json and {output}/report.html.")
    if learn_threshold:
        keep_threshold(model, opened, found.figures)
    if json:
        print_json(finite(results))
    else:
        print_table(["measure", "value"], rows_of(found.figures), right=["value"])
        print_tables(further)
        say(f"Measured in {duration(time.perf_counter() - start)}.")


def judge_robustness(
    task: Task, examples: Any, *, by: list[str], terms: tuple | None, typos: bool, batch_size: int
) -> Judgement:
    """Returns what was asked for of slices, counterfactuals and typos."""
    from kzoo.training.judging import Judgement

    found = Judgement(figures={})
    if by:
        from kzoo.training.judging.slices import judge_slices

        found += judge_slices(task, examples, by, batch_size=batch_size)
    if terms is not None:
        from kzoo.training.judging.counterfactuals import judge_counterfactuals

        found += judge_counterfactuals(task, examples, terms[0], templates=terms[1], batch_size=batch_size)
    if typos:
        from kzoo.training.judging.typos import judge_typos

        found += judge_typos(task, examples, batch_size=batch_size)
    return found


def print_tables(found: Judgement) -> None:
    """Prints the first rows of tables on standard output."""
    from kzoo.metrics.report import shown

    for table in found.tables:
        print(f"\n{table.title}")
        print_table(table.columns, [[shown(value) for value in row] for row in table.rows[:20]])


def read_counterfactuals(path: str) -> tuple:
    """Returns lists of terms and templates of a file."""
    from kzoo.metrics.counterfactuals import read_terms

    return read_terms(path)


def read_examples(data: str, task: Task, *, theirs: dict[str, str], format: str, by: Sequence[str] = ()) -> Examples:
    """Reads the columns that the task needs, and those in ``by``.

    ``theirs`` says what the file calls them, "" where as kzoo does.
    """
    from kzoo.data import read
    from kzoo.training.judging import columns_of

    theirs = theirs | {"entities": theirs["label"]}
    needed = ["prompt", "answer"] if theirs["prompt"] or theirs["answer"] else columns_of(task)
    if task.name == "embed" and theirs["label"]:
        needed = [*needed, "label"]
    columns = {name: theirs.get(name) or name for name in needed} if any(theirs.values()) else None
    if columns is not None:
        columns |= {name: name for name in by if name not in columns and name != "length"}
    if task.name == "answer" and Path(data).suffix.lower() in (".jsonl", ".ndjson"):
        format = format or "squad"
    return read(data, format=format or None, columns=columns)


def check_kept(model: str, task: Task, options: dict[str, Any]) -> None:
    """Raises UserError where a saved task has options of its own that are not its limits."""
    own = task.options()
    for name, value in options.items():
        if name not in task.limits and own.get(name, value) != value:
            raise UserError(f"{model} was saved with its own {name}. Leave --option {name} out.")


def check_threshold(model: str, task: Task) -> None:
    """Raises UserError where there is no threshold to learn, or no file to keep it in."""
    from kzoo.cli.opening import find_model
    from kzoo.tasks.task import DESCRIPTION

    if task.name != "answer" or not task.options()["no_answer"]:
        raise UserError(f"--learn-threshold is for a model that may give no answer to a question. {model} always does.")
    if not (Path(find_model(model)) / DESCRIPTION).is_file():
        raise UserError(f"--learn-threshold keeps the threshold in {DESCRIPTION} of a saved model. {model} has none.")


def keep_threshold(model: str, task: Any, figures: dict[str, Any]) -> None:
    """Writes the threshold that is best for F1 into the model's description."""
    from kzoo.cli.opening import find_model

    before, task.threshold = task.threshold, figures["best_f1_threshold"]
    place = Path(find_model(model))
    task.write_description(place)
    say(
        f"Kept in {place}: threshold {task.threshold:.4f} (before: {before:.4f}); F1 on these rows then "
        f"{figures['best_f1']:.4f}, which flatters it: measure on others."
    )


def read_options(given: list[str]) -> dict[str, Any]:
    """Returns options of a task from ``KEY=VALUE``, the value as YAML has it; UserError for anything else."""
    from kzoo.training.config_file import parse_yaml

    options: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"An option is KEY=VALUE, such as max_new_tokens=32. Received {one!r}.")
        options[name] = parse_yaml(value, where=f"--option {name}")
    return options


def read_text(path: str) -> str:
    """Returns a file's whole text; UserError when it is missing, empty or not UTF-8."""
    from kzoo.data.formats import Reading, decoded

    return decoded(Path(path).expanduser(), Reading.model_validate({})).replace("\r\n", "\n")


def write(folder: Path, results: dict[str, Any], found: Judgement, *, title: str, facts: dict[str, Any]) -> None:
    """Writes ``metrics.json`` and ``report.html`` into a folder, which is made when it is missing."""
    from kzoo.checkpoints.replacing import write_text
    from kzoo.metrics.report import Report
    from kzoo.version import __version__

    facts = facts | {"measured": time.strftime("%Y-%m-%d %H:%M:%S %z"), "kzoo": __version__}
    report = Report(title=title, facts=facts, figures=found.figures, plots=found.plots, tables=found.tables)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be made: {error.strerror}.") from None
    write_text(folder / "metrics.json", as_json(results))
    write_text(folder / "report.html", report.html())


def as_json(results: dict[str, Any]) -> str:
    """Returns results as JSON; what is not a number becomes null, for JSON knows no NaN."""
    return json_module.dumps(finite(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Returns a value of dicts, lists and numbers with None in the place of NaN and infinities."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def held_out_rows(model: str) -> Examples | TokenFolder:
    """Returns the rows that a run held out from its training, by the config in its folder."""
    held_out = rows_of_run(model)[1]
    if held_out is None:
        raise UserError(f"{model} held no rows out of its training. Name the data to measure on.")
    return held_out


def config_of_run(model: str) -> Path:
    """Returns the path that the config of a run in this folder would have."""
    return Path(model).expanduser() / "config.yaml"


def learned_from(model: str, data: str) -> bool:
    """Whether ``model`` is the folder of a run whose training rows are all, or some, of those of ``data``."""
    config = config_of_run(model)
    if not data or not config.is_file():
        return False
    from kzoo.training import read_config

    try:
        trained = read_config(config).data.train
    except UserError:  # of another version: no reason not to measure
        return False
    return trained == data or Path(trained).expanduser().resolve() == Path(data).expanduser().resolve()


def rows_of_run(model: str) -> tuple[Any, Any]:
    """Returns the rows that a run learned from and those it held out, None where it held none out."""
    config = config_of_run(model)
    if not config.is_file():
        raise UserError(f"Name the data to measure on: {model} is not a run's folder, so it held no rows out.")
    from kzoo.training import read_config
    from kzoo.training.train import read_examples as read_both

    return read_both(read_config(config))


def rows_of(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns names and values as a person reads them."""
    rows = []
    for name, value in results.items():
        if isinstance(value, dict):  # figures of each class are for metrics.json and the report
            continue
        shown = " to ".join(f"{one:.4f}" for one in value) if isinstance(value, list) else value
        rows.append((name.replace("_", " "), f"{shown:.4f}" if isinstance(shown, float) else str(shown)))
    return rows
