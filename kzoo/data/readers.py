"""``read``: a file, a folder or a data set's name becomes ``Examples``; mistakes become one sentence."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kzoo.data.conll import conll
from kzoo.data.examples import Examples
from kzoo.data.formats import PARSERS, Reading, Record
from kzoo.data.parallel import parallel_files, read_parallel
from kzoo.data.row_stream import files_of, format_of
from kzoo.data.squad import squad
from kzoo.errors import UserError
from kzoo.models.sources import closest, explain

ALL_PARSERS = PARSERS | {"squad": squad, "conll": conll}


def read(path: str | Path, *, part: tuple[int, int] | None = None, **options: Any) -> Examples:
    """Reads a file, a folder of files, or a data set by its name (which is pulled when it is not in the cache).

    Args:
        path: a file; a folder, whose files are read in the order of their names; two files of lines that belong
            together, ``train.{en,de}``, as the columns ``prompt`` and ``answer``; or a data set's name.
        part: ``(index, count)`` to read every ``count``-th file of a folder only, from the ``index``-th on.
        **options: the fields of ``Reading``; None counts as not given. A data set brings its own, and those given
            here count first (``label=False`` takes its label rule away).

    Returns:
        The columns: texts as ``str``, numbers as numpy numbers. Plain text has the one column ``text``.

    Raises:
        UserError: a file that is missing, empty, ragged or not of the encoding, or a column that is not there. The
            message has the file, the line and the remedy.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if Path(path).exists():
        return _read(Path(path), _reading(given), str(path), part)
    files = parallel_files(str(path))
    if files is not None:
        if part is not None:
            raise UserError(f"{path} are two files, which workers cannot share by files. Use data.share: rows.")
        return read_parallel(files, _reading(given), source=str(path))
    from kzoo.data.catalog import dataset, dataset_names

    if str(path) not in dataset_names():
        raise UserError(_not_there(Path(path), dataset_names()))
    from kzoo.data.download import pull

    known = dataset(str(path))
    return _read(pull(known), _reading(known.read.model_dump(exclude_defaults=True) | given), known.name, part)


def _reading(options: dict[str, Any]) -> Reading:
    if options.get("label") is False:
        options = options | {"label": None}
    try:
        return Reading.model_validate(options)
    except ValidationError as error:
        raise UserError(f"Reading data: {explain(error, Reading)}") from error


def _not_there(path: Path, names: list[str]) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = closest(path.name, beside) or closest(str(path), names)
    return f"There is no file {path}, and no data set of that name{near}. Data sets: {', '.join(names)}."


def _read(path: Path, reading: Reading, source: str, part: tuple[int, int] | None) -> Examples:
    files = files_of(path, reading) if part is None else _share(files_of(path, reading), path, *part)
    records = [record for file in files for record in ALL_PARSERS[_format(file, reading)](file, reading)]
    if not records:
        raise UserError(f"{path} holds no examples, only a header or empty lines.")
    columns = _columns(records[0], reading)
    for theirs in columns.values():
        _check_column(records, theirs)
    examples = Examples(
        {ours: [record[theirs] for _, record in records] for ours, theirs in columns.items()}, source=source
    )
    return reading.label.apply(examples) if reading.label else examples


def _share(files: list[Path], path: Path, index: int, count: int) -> list[Path]:
    if len(files) < count:
        raise UserError(
            f"{path} has {len(files)} file{'s' if len(files) > 1 else ''}, fewer than the {count} workers that share "
            "them. Cut it into more files, or use data.share: rows."
        )
    return files[index::count]


def _format(path: Path, reading: Reading) -> str:
    known = format_of(path, reading)
    if known is None:
        raise UserError(
            f"The suffix of {path} does not tell its format. Give format: csv, tsv, jsonl (one JSON object a line), "
            "squad, conll or text."
        )
    return known


def _columns(record: Record, reading: Reading) -> dict[str, str]:
    """The columns to keep, ours to the file's."""
    kept = dict(reading.columns) if isinstance(reading.columns, dict) else {name: name for name in record[1]}
    if reading.label and reading.label.column not in kept:
        kept[reading.label.column] = reading.label.column
    return kept


def _check_column(records: list[Record], name: str) -> None:
    kind = None
    for where, record in records:
        if name not in record:
            raise UserError(
                f"{where}: there is no column {name!r}{closest(name, list(record))}. "
                f"There are: {', '.join(record) or 'none'}."
            )
        value = record[name]
        its = "a number" if type(value) in (int, float) else _KINDS.get(type(value), type(value).__name__)
        if value is None:
            raise UserError(f"{where}: {name} is null. Give it a value or leave the line out.")
        if kind is not None and its != kind:
            raise UserError(f"{where}: {name} must hold one kind of value. It held {kind} before and {its} here.")
        kind = its


_KINDS = {str: "a text", bool: "true or false", list: "a list", dict: "an object"}
