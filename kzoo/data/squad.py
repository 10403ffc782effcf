"""Questions about passages: SQuAD's JSON, versions 1.1 and 2.0, and its flat form, one question a line.

Rajpurkar et al. 2016 and 2018. A record has ``id``, ``title`` (of the article), ``question``, ``context`` and
``answers``, a list of ``{"text", "answer_start"}`` that is empty where the passage does not answer the question;
``answer_start`` counts code points of the context.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kzoo.data.formats import Reading, Record, decoded
from kzoo.errors import UserError
from kzoo.models.sources import closest

COLUMNS = ("id", "title", "question", "context", "answers")
_AROUND = 20
"""Characters of a passage that an error shows."""


def squad(path: Path, reading: Reading) -> Iterator[Record]:
    """The questions of a file: of SQuAD's JSON with articles and paragraphs, or of one JSON object a line.

    A line has ``question`` and ``context``, and ``answers`` (SQuAD's list of objects, or an object of the lists
    ``text`` and ``answer_start``), or ``answer`` with ``answer_start`` (or ``start``), or neither and
    ``is_impossible: true``. An ``answer`` that stands in its context once needs no start. ``columns`` may say that the
    lines call these otherwise.

    Raises:
        UserError: not JSON, a key that is missing, an answer that does not stand where it should; says which question.
    """
    text = decoded(path, reading)
    if isinstance(reading.columns, list):
        raise UserError(f"{path} is JSON, which names its values: give columns as {{ours: the file's}}.")
    try:
        whole = json.loads(text)
    except ValueError as error:
        if path.suffix.lower() == ".json" and not _is_lines(text):
            raise UserError(f"{path}: not valid JSON ({error}).") from error
        yield from _lines(path, text, reading)
        return
    if isinstance(whole, dict) and "question" in whole:  # a file of one line
        yield from _lines(path, text, reading)
        return
    articles = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(articles, list) or not all(isinstance(one, dict) for one in articles):
        raise UserError(
            f'{path}: a JSON file of questions has SQuAD\'s layout, {{"data": [{{"title", "paragraphs"}}, ...]}}, or '
            f"one JSON object a line. Received {_described(whole)}."
        )
    if not articles:
        raise UserError(f"{path} holds no articles.")
    for number, article in enumerate(articles, start=1):
        where = f"{path}: article {number}"
        if "paragraphs" in article or "question" not in article:
            yield from _article(where, article)
        else:
            yield where, flat(where, article, reading)


def checked_answers(where: str, answers: Any, context: str) -> list[dict[str, Any]]:
    """Answers as a list of ``{"text", "answer_start"}``, from that or from an object of the lists ``text`` and so on.

    Raises:
        UserError: they are something else, or one does not stand in its context where it should.
    """
    found = listed_answers(where, answers)
    for answer in found:
        _check_place(where, answer, context)
    return found


def _article(where: str, article: dict[str, Any]) -> Iterator[Record]:
    title = article.get("title", "")
    where = f"{where} ({title!r})" if title else where
    for number, paragraph in enumerate(_list(where, article, "paragraphs"), start=1):
        place = f"{where}, paragraph {number}"
        context = _text(place, paragraph, "context")
        for count, question in enumerate(_list(place, paragraph, "qas"), start=1):
            here = f"{place}, question {count}"
            yield here, _question(here, question, str(title), context)


def _question(where: str, entry: dict[str, Any], title: str, context: str) -> dict[str, Any]:
    if "id" in entry:
        where = f"{where} (id {entry['id']})"
    question = _text(where, entry, "question")
    answers = listed_answers(where, _needed(where, entry, "answers"))
    return _record(where, entry, question, title, context, answers)


def _lines(path: Path, text: str, reading: Reading) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not valid JSON ({error}). Questions have one JSON object a line.") from error
        if not isinstance(entry, dict):
            raise UserError(f'{where}: a line must be a JSON object, as in {{"question": "...", ...}}.')
        yield where, flat(where, {"id": str(number)} | entry, reading)


def flat(where: str, entry: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """The record of one question that stands by itself, under the file's names of the columns."""
    names = {name: reading.theirs(name) for name in COLUMNS}
    question, context = (_text(where, entry, names[name]) for name in ("question", "context"))
    title = str(entry.get(names["title"], ""))
    where = where if names["id"] not in entry else f"{where} (id {entry[names['id']]})"
    if names["answers"] in entry:
        answers = listed_answers(where, entry[names["answers"]])
    elif entry.get("answer") not in (None, ""):
        answer = _text(where, entry, "answer")
        start = entry["answer_start"] if "answer_start" in entry else entry.get("start")
        answers = [{"text": answer, "answer_start": _only_place(where, answer, context) if start is None else start}]
    elif "answer" in entry or "is_impossible" in entry:
        answers = []
    else:
        raise UserError(
            f"{where}: a question needs answers, or answer with answer_start, or is_impossible. It has "
            f"{', '.join(entry)}."
        )
    values = _record(where, {"id": entry.get(names["id"], "")} | entry, question, title, context, answers)
    return {names[name]: value for name, value in values.items()}


def _record(where: str, entry: dict[str, Any], question: str, title: str, context: str, answers: list) -> dict:
    if entry.get("is_impossible") and answers:
        raise UserError(f"{where}: is_impossible is true, and yet there are answers. Leave out one of them.")
    checked_answers(where, answers, context)
    return {
        "id": str(entry.get("id", "")),
        "title": title,
        "question": question,
        "context": context,
        "answers": answers,
    }


def listed_answers(where: str, answers: Any) -> list[dict[str, Any]]:
    """Answers as a list of ``{"text", "answer_start"}``, from that or from an object of two lists."""
    if isinstance(answers, dict):
        texts, starts = (_list(where, answers, name, of=None) for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise UserError(f"{where}: answers have {len(texts)} texts and {len(starts)} starts.")
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        raise UserError(
            f'{where}: answers must be a list of {{"text", "answer_start"}}. Received {_described(answers)}.'
        )
    found = []
    for answer in answers:
        if not isinstance(answer, dict):
            raise UserError(f'{where}: an answer must be {{"text", "answer_start"}}. Received {_described(answer)}.')
        found.append({"text": _text(where, answer, "text"), "answer_start": _needed(where, answer, "answer_start")})
    return found


def _check_place(where: str, answer: dict[str, Any], context: str) -> None:
    text, start = answer["text"], answer["answer_start"]
    if not isinstance(start, int) or isinstance(start, bool):
        raise UserError(f"{where}: answer_start must be a whole number. Received {start!r}.")
    if text and 0 <= start and context[start : start + len(text)] == text:
        return
    if not text:
        raise UserError(f"{where}: an answer must not be empty; a question without one has no answers.")
    stands = repr(context[start : start + max(len(text), _AROUND)]) if 0 <= start < len(context) else "nothing"
    place = context.find(text)
    hint = f" It stands at {place}: starts count characters from 0." if place >= 0 else " It stands nowhere in it."
    raise UserError(f"{where}: the answer {text!r} must stand at {start} of its context. There stands {stands}.{hint}")


def _only_place(where: str, answer: str, context: str) -> int:
    number = context.count(answer)
    if number == 1:
        return context.index(answer)
    raise UserError(
        f"{where}: answer_start must say where the answer begins, unless it stands in its context once. {answer!r} "
        f"stands there {number} times."
    )


def _needed(where: str, entry: Any, name: str) -> Any:
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be an object. Received {_described(entry)}.")
    if name not in entry:
        raise UserError(
            f"{where}: there is no key {name!r}{closest(name, list(entry))}. It has: {', '.join(entry) or 'none'}."
        )
    return entry[name]


def _text(where: str, entry: Any, name: str) -> str:
    value = _needed(where, entry, name)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} must be a text. Received {_described(value)}.")
    return value


def _list(where: str, entry: Any, name: str, *, of: type | None = dict) -> list:
    value = _needed(where, entry, name)
    if not isinstance(value, list) or (of is not None and not all(isinstance(one, of) for one in value)):
        raise UserError(f"{where}: {name} must be a list{' of objects' if of else ''}. Received {_described(value)}.")
    return value


def _is_lines(text: str) -> bool:
    """Whether the first line that is not blank is a JSON object by itself."""
    try:
        return isinstance(json.loads(text.lstrip().partition("\n")[0]), dict)
    except ValueError:
        return False


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:5])) or 'nothing'}"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"
