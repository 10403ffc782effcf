"""``prepare``: from files to a folder of documents that are ready for training, and a report of what was done."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kzoo.data.formats import Record
from kzoo.data.preparing.config import Preparation
from kzoo.data.preparing.near_duplicates import bands_for
from kzoo.data.preparing.output_folder import Shards, new_folder
from kzoo.data.preparing.seen import Match, Seen
from kzoo.data.preparing.tally import Tally
from kzoo.data.preparing.work import Outcome
from kzoo.data.preparing.workers import Done, in_batches, working
from kzoo.data.row_stream import files_of, format_of, stream_records
from kzoo.errors import UserError
from kzoo.version import __version__

CONFIG, REPORT = "prepare.yaml", "report.json"

Progress = Callable[[int, int, int], None]  # documents read, kept, and characters read


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` made.

    Attributes:
        folder: where the documents, ``report.json`` and ``prepare.yaml`` lie; None of a dry run.
        report: what ``report.json`` says.
    """

    folder: Path | None
    report: dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """A file, or a data set by its name, and whether it holds plain text."""

    place: str
    path: Path | None
    plain: bool


def prepare(
    preparation: Preparation,
    output: str | Path,
    *,
    workers: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
    finish: Callable[[Path, dict[str, Any]], None] | None = None,
) -> Prepared:
    """Prepares text as told. The output is the same for any number of workers.

    Memory holds hashes of the documents kept, never the documents; the disk needs room for them twice.

    Args:
        preparation: inputs and steps.
        output: the new folder.
        workers: processes that work on documents; more than one need a ``__main__`` that can be imported.
        dry_run: write nothing, only report.
        progress: called now and then.
        finish: called with the folder, before it gets its name, and the report.

    Returns:
        The folder and the report.

    Raises:
        UserError: an input that is missing, empty, not of the encoding or without the column; libraries of the extra
            ``prepare`` that are missing; a folder that exists; nothing left to write.
    """
    if workers < 1:
        raise UserError(f"workers must be 1 or more. Received {workers}.")
    start = time.perf_counter()
    output = Path(output)
    sources = _sources(preparation.inputs, preparation, what="inputs")
    held_out = _sources(preparation.against, preparation, what="against") if preparation.against else []
    plain = sources[0].plain
    if any(one.plain != plain for one in sources):
        kinds = ", ".join(f"{one.place} is {'plain text' if one.plain else 'a table'}" for one in sources[:4])
        raise UserError(f"All inputs must be plain text, or all tables (CSV, TSV, JSONL): {kinds}. Prepare them apart.")
    with new_folder(output, dry_run=dry_run) as folder, working(preparation, workers) as done:
        run = _Run(preparation, folder, plain=plain)
        try:
            run.hold_out(held_out, done)
            run.read(sources, done, progress)
            files = run.write(folder if not dry_run else None)
            report = run.tally.report()
            sizes = run.close()
        finally:
            run.remove()
        if not run.tally.written:
            raise UserError(_nothing_left(report))
        seconds = time.perf_counter() - start
        report |= {
            "files": files,
            "inputs": [_identity(one) for one in sources],
            "against": [_identity(one) for one in held_out],
            "preparation": preparation.model_dump(mode="json"),
            "libraries": _versions(),
            "kzoo": __version__,
            "run": {
                "seconds": round(seconds, 2),
                "workers": workers,
                "characters_a_second": round(report["characters"]["read"] / max(seconds, 1e-9)),
                "table_bytes": sizes,
            },
        }
        if not dry_run:
            config = yaml.safe_dump(preparation.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
            (folder / CONFIG).write_text(config, encoding="utf-8")
            text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
            (folder / REPORT).write_text(text, encoding="utf-8", errors="replace")
            if finish is not None:
                finish(folder, report)
    return Prepared(None if dry_run else output, report)


class _Run:
    """The part that one process does in the order of the documents: what depends on those before."""

    def __init__(self, preparation: Preparation, folder: Path, *, plain: bool):
        rules = preparation.duplicates
        self._preparation, self._plain = preparation, plain
        self._column = "text" if plain else preparation.column
        bands = bands_for(rules.near, rules.permutations)[0] if rules.near is not None else 0
        self._paths = [folder / "kept.spool", folder / "held-out.spool"]
        self._kept = Seen(self._paths[0], rules, self._column, bands)
        self._held_out = Seen(self._paths[1], rules, "text", bands)
        self._refused: set[int] = set()  # documents kept at first whose label another contradicts
        self.tally = Tally()

    def hold_out(self, sources: Iterable[_Source], done: Done) -> None:
        """Reads what must not stand in the output."""
        for source in sources:
            batches = in_batches(_records(source, self._preparation), self._name(source))
            for outcomes in done(batches, source.plain, True):
                for one in outcomes:
                    if not one.dropped and self._held_out.exact(one.digest) is None:
                        self._held_out.add(one.where, {"text": one.text}, one.digest, one.bands)

    def read(self, sources: Iterable[_Source], done: Done, progress: Progress | None) -> None:
        """Reads the inputs and decides on each document."""
        characters = 0

        def batches() -> Iterator[list[Record]]:
            for source in sources:
                yield from in_batches(_records(source, self._preparation), self._column)

        for outcomes in done(batches(), self._plain, False):
            for one in outcomes:
                self._take(one)
                characters += one.characters
            if progress is not None:
                progress(self.tally.read, len(self._kept), characters)

    def write(self, folder: Path | None) -> list[dict[str, Any]]:
        """Writes what was kept; without a folder it is only counted."""
        document = self._preparation.document if self._plain and self._preparation.document != "file" else None
        shards = Shards(folder, document, self._preparation.shard_megabytes << 20) if folder is not None else None
        for number, (where, row) in enumerate(self._kept.spool):
            text = row[self._column]
            if number in self._refused:
                self.tally.drop("label_conflict", where, text)
                continue
            self.tally.went(text, self._label(where, row))
            if shards is not None:
                shards.write(row, text)
        if shards is None:
            return []
        shards.end()
        return shards.files

    def close(self) -> int:
        """Bytes of memory that the tables had."""
        return self._kept.nbytes + self._held_out.nbytes

    def remove(self) -> None:
        """Removes the files that were only needed meanwhile."""
        for seen, path in zip((self._kept, self._held_out), self._paths, strict=True):
            seen.spool.close()
            path.unlink(missing_ok=True)

    def _take(self, one: Outcome) -> None:
        label = self._label(one.where, one.row)
        self.tally.came(one, label)
        if one.dropped:
            self.tally.drop(one.dropped, one.where, one.text, measure=one.measure)
            return
        rules = self._preparation.duplicates
        match = self._kept.exact(one.digest) if rules.exact != "keep" else None
        if match is not None:
            self._drop(one, label, "exact_duplicate", match)
        elif found := self._held_out.exact(one.digest) or self._held_out.near(one.text, one.bands):
            self.tally.drop(
                "held_out" if found.exact else "held_out_near",
                one.where,
                one.text,
                match=found,
                kept=lambda: self._other(self._held_out, found, "text"),
            )
        elif near := self._kept.near(one.text, one.bands):
            self._drop(one, label, "near_duplicate", near)
        else:
            self._kept.add(one.where, one.row, one.digest, one.bands)

    def _drop(self, one: Outcome, label: Any, reason: str, match: Match) -> None:
        self.tally.drop(
            reason, one.where, one.text, match=match, kept=lambda: self._other(self._kept, match, self._column)
        )
        if label is None:
            return
        where, row = self._kept.row(match.number)
        other = self._label(where, row)
        if other != label:
            self.tally.conflict(one.where, one.text, label, where, other)
            if self._preparation.duplicates.conflicts == "drop":
                self._refused.add(match.number)

    def _other(self, seen: Seen, match: Match, column: str) -> tuple[str, str]:
        where, row = seen.row(match.number)
        return where, row[column]

    def _label(self, where: str, row: dict[str, Any]) -> Any:
        name = self._preparation.label
        if name is not None and name not in row:
            raise UserError(f"{where}: there is no column {name!r}. There are: {', '.join(row)}. Name it: --label.")
        return row.get(name or "label") if not self._plain else None

    def _name(self, source: _Source) -> str:
        return "text" if source.plain else self._preparation.column


def _sources(places: Iterable[str], preparation: Preparation, *, what: str) -> list[_Source]:
    reading = preparation.reading()
    sources = []
    for place in places:
        path = Path(place).expanduser()
        if not path.exists():
            sources.append(_data_set(place))
            continue
        for file in files_of(path, reading):
            if not file.is_file() or not os.access(file, os.R_OK):
                raise UserError(f"{file} is no file that can be read.")
            if not file.stat().st_size:
                raise UserError(f"{file} is empty. Leave it away.")
            sources.append(_Source(str(file), file, format_of(file, reading) == "text"))
    if not sources:
        raise UserError(f"There is nothing to prepare: {what} names no file.")
    return sources


def _data_set(name: str) -> _Source:
    from kzoo.data.catalog import dataset_names
    from kzoo.data.readers import read

    if name not in dataset_names():
        read(name)  # says that there is no such file, and what was perhaps meant
    return _Source(name, None, plain=False)


def _records(source: _Source, preparation: Preparation) -> Iterator[Record]:
    if source.path is not None:
        yield from stream_records(source.path, preparation.reading())
        return
    from kzoo.data.readers import read

    for number, row in enumerate(read(source.place).rows(), start=1):
        yield f"{source.place}:{number}", row


def _identity(source: _Source) -> dict[str, Any]:
    if source.path is None:
        return {"data_set": source.place}
    with open(source.path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": source.place, "bytes": source.path.stat().st_size, "sha256": digest}


def _nothing_left(report: dict[str, Any]) -> str:
    read = report["documents"]["read"]
    if not read:
        return "The inputs hold no documents, only empty lines or headers."
    counts = {reason: counts["documents"] for reason, counts in report["dropped"].items()}
    most = max(counts, key=lambda reason: counts[reason])
    return f"All {read} documents would be dropped, {counts[most]} of them for {most}. Nothing was written."


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("datasketch", "ftfy", "phonenumbers", "py3langid", "python-stdnum"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
