"""``kzoo data prepare``: text normalized, without duplicates, filtered and redacted, and a report of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzoo.cli.output import count, duration, print_json, print_table, say
from kzoo.cli.tokenizer import Document
from kzoo.errors import UserError

if TYPE_CHECKING:
    from kzoo.data.preparing import Preparation

EVERY = 5.0  # seconds between lines of progress


class Conflicts(StrEnum):
    """What becomes of duplicates whose labels differ."""

    report = "report"
    drop = "drop"


class Format(StrEnum):
    """How files are read."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    text = "text"


def prepare(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Text, JSONL, CSV or TSV files, folders of them, or data sets."),
    ] = None,
    output: Annotated[
        str, typer.Option(metavar="DIR", help="A new folder for the documents, report.json and report.html.")
    ] = "",
    config: Annotated[
        str, typer.Option(metavar="FILE.yaml", help="A preparation, such as the prepare.yaml of one that was made.")
    ] = "",
    document: Annotated[
        Document | None, typer.Option(help="What is one document of a plain text file. By default a line.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column that holds the text, unless it is text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels, unless it is label.")] = None,
    format: Annotated[Format | None, typer.Option(help="By default the file's suffix says it.")] = None,
    encoding: Annotated[str | None, typer.Option(help="The files' encoding, unless it is UTF-8.")] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(metavar="SIMILARITY", help="Drop near duplicates as similar as this (Jaccard, 0 to 1); try 0.8."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Drop what stands, or nearly, in this held-out file. Can be repeated."),
    ] = None,
    conflicts: Annotated[
        Conflicts | None, typer.Option(help="Duplicates with different labels: only report them, or drop them all.")
    ] = None,
    least_characters: Annotated[int | None, typer.Option(help="Drop shorter documents.")] = None,
    most_characters: Annotated[int | None, typer.Option(help="Drop longer documents.")] = None,
    gopher: Annotated[bool, typer.Option("--gopher", help="Drop what Gopher's rules for web pages drop.")] = False,
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Keep this language (en, de, ...). Can be repeated.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="email, phone, ip_address, credit_card, iban, login, or all. Repeatable."),
    ] = None,
    phone_region: Annotated[
        str | None, typer.Option(metavar="COUNTRY", help="Redact national phone numbers of this country (US) too.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in --set normalize.html=strip. Repeatable."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one a core. The output does not depend on it.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, only say what would be done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON, for programs.")] = False,
) -> None:
    """Normalize text, drop duplicates and what is unfit, and report it.

    Without options, Unicode is normalized (NFC), control characters, white space at line ends and exact duplicates
    go. The folder is read by `kzoo data tokenize` and by a run's data.train. Files may be larger than memory. Near
    duplicates, languages, redaction and mojibake need the extra `prepare` (docs/data-preparation.md).

    \b
    Examples:
      kzoo data prepare corpus.txt --document paragraph --output clean
      kzoo data prepare reviews.csv --near-duplicates 0.8 --against test.csv --output clean
      kzoo data prepare pages.jsonl --gopher --language en --redact all --workers 0 --output clean
      kzoo data prepare --config clean/prepare.yaml --output again
    """
    from kzoo.data.preparing import prepare as run

    if not output and not dry_run:
        raise UserError("Name the new folder: --output DIR, or try without writing: --dry-run.")
    given = {
        "inputs": inputs or None,
        "against": against,
        "document": document.value if document else None,
        "column": column,
        "label": label,
        "format": format.value if format else None,
        "encoding": encoding,
        "duplicates.near": near_duplicates,
        "duplicates.conflicts": conflicts.value if conflicts else None,
        "filters.least_characters": least_characters,
        "filters.most_characters": most_characters,
        "filters.gopher": gopher or None,
        "language.keep": language,
        "redact.kinds": _kinds(redact) if redact else None,
        "redact.phone_region": phone_region,
    }
    preparation = resolved(config, {key: value for key, value in given.items() if value is not None}, settings or [])
    start = time.perf_counter()
    made = run(
        preparation,
        output or "prepared",
        workers=workers or os.cpu_count() or 1,
        dry_run=dry_run,
        progress=_Progress(),
        finish=_write_page,
    )
    report = made.report
    if json:
        print_json(report)
    else:
        _tell(report)
    took = duration(time.perf_counter() - start)
    counts = report["documents"]
    say(f"{counts['written']:,} of {counts['read']:,} documents kept, {took}.")
    if made.folder is None:
        say("Nothing was written (--dry-run).")
        return
    say(f"Written: {made.folder}/{report['files'][0]['name']} and so on, report.json, report.html, prepare.yaml.")
    if report["files"][0]["name"].endswith(".txt"):
        shape = "" if preparation.document == "line" else f" --document {preparation.document}"
        say(f"Next: kzoo data tokenize {made.folder}{shape} --tokenizer ..., or data.train: {made.folder} in a run.")


def resolved(config: str, given: dict[str, Any], settings: Iterable[str]) -> Preparation:
    """The preparation of a file, with the options of the command line and ``KEY=VALUE`` settings over it.

    Raises:
        UserError: a key that does not exist or a value out of range, with its place and what was meant.
    """
    from kzoo.data.preparing.config import Preparation
    from kzoo.training.config_file import apply_override, check, parse_yaml

    content: Any = {}
    if config:
        try:
            content = parse_yaml(Path(config).expanduser().read_text(encoding="utf-8"), where=config)
        except FileNotFoundError:
            raise UserError(f"There is no file {config}.") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{config} cannot be read as YAML: {error}.") from None
        if not isinstance(content, dict):
            raise UserError(f"{config} must hold keys and values, as in `filters: ...`.")
    for key, value in given.items():
        *sections, name = key.split(".")
        section = content
        for one in sections:
            section[one] = section.get(one) or {}
            section = section[one]
            if not isinstance(section, dict):
                raise UserError(f"{config}: {one} is a section with keys of its own, as in `{one}: {{{name}: ...}}`.")
        section[name] = value
    for setting in settings:
        apply_override(content, setting)
    return check(content, Preparation, where=config or "kzoo data prepare")


def _kinds(kinds: list[str]) -> list[str]:
    from typing import get_args

    from kzoo.data.preparing.config import Redactable
    from kzoo.models.sources import closest

    known = list(get_args(Redactable))
    for kind in kinds:
        if kind not in [*known, "all"]:
            raise UserError(
                f"There is no kind {kind!r} to redact{closest(kind, known)}. Known: {', '.join(known)}, all."
            )
    return known if "all" in kinds else kinds


class _Progress:
    """A line now and then, of what was read and kept."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def __call__(self, read: int, kept: int, characters: int) -> None:
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            speed = count(round(characters / (now - self._start)))
            say(f"{count(read)} documents read, {count(kept)} kept, {speed} characters a second")


def _tell(report: dict[str, Any]) -> None:
    from kzoo.cli.preparation_report import spoken, steps

    rows = [(step, f"{dropped:,}" if dropped else "", f"{left:,}") for step, dropped, left in steps(report)]
    print_table(["step", "dropped", "left"], rows, right=["dropped", "left"])
    for name, said in (("changed", "Changed"), ("redacted", "Redacted"), ("languages", "Languages")):
        if report[name]:
            few = list(report[name].items())[:8]
            print(f"{said}: {', '.join(f'{spoken(key)} {number:,}' for key, number in few)}")
    if report.get("label_conflicts"):
        print(f"Duplicates with another label: {report['label_conflicts']:,}")


def _write_page(folder: Path, report: dict[str, Any]) -> None:
    from kzoo.cli.preparation_report import page

    (folder / "report.html").write_text(page(report), encoding="utf-8", errors="replace")
