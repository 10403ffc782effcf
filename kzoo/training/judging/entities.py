"""Entities of texts."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.data import tags
from kzoo.data.entities import Entity, entities_of
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.entities import entity_counts, entity_f1, entity_f1_of_types, entity_macro_f1, is_proper
from kzoo.metrics.report import Plot, Table
from kzoo.training.evaluate import evaluate
from kzoo.training.judging.drawing import class_table, per_class, reliability, sureness
from kzoo.training.judging.judgement import MISTAKES, Judgement

# N texts, K types

AROUND = 40
"""Characters of a text that a table shows on both sides of an entity."""
NONE = "none"


class Word(NamedTuple):
    """A word, or a token of the data, with the tag that it was given."""

    start: int
    end: int
    tag: str
    score: float


class Found(NamedTuple):
    """An entity that was found, how sure the model is of it, and whether its tags are a proper sequence."""

    entity: Entity
    score: float
    is_proper: bool


def judge_entities(task, examples, batch_size) -> Judgement:
    """Precision, recall and F1 of entities as ``seqeval`` counts them; what was taken for what, the worst mistakes."""
    right = entities_of(examples)
    if not any(right):
        raise UserError(f"{examples.source} holds no entity in any of its texts. Is it the right file?")
    tokens = examples["tokens"].tolist() if "tokens" in examples else None
    scheme = _scheme(task.labels)
    words = list(_words(task, examples["text"].tolist(), batch_size))
    if tokens is not None:
        words = [_of_tokens(these, spans) for these, spans in zip(words, tokens, strict=True)]
    found = [_entities(these, scheme) for these in words]
    given = [[one.entity for one in these] for these in found]
    types = sorted({one.type for row in (*right, *given) for one in row} | set(task.types))
    counts = entity_counts(right, given, types)
    figures = {name: value for name, value in evaluate(task, examples, batch_size=batch_size).items() if name == "loss"}
    figures |= _with_intervals(counts)
    if scheme:
        strict = [[one.entity for one in these if one.is_proper] for these in found]
        figures |= {
            f"strict_{name}": float(value) for name, value in _whole(entity_counts(right, strict, types)).items()
        }
    figures |= {"boundary_f1": _f1_of(_without_types(right), _without_types(given))}
    figures |= {"surface_f1": _surface_f1(examples["text"], right, given)}
    hits = [one.entity in there for these, there in zip(found, right, strict=True) for one in these]
    sure, is_right = np.array([one.score for these in found for one in these]), np.array(hits, bool)
    calibrated = metrics.calibration(sure, is_right)
    each = per_class(entity_f1_of_types(counts.sum(0)), types)
    matrix, names = _matrix(right, given, types)
    figures |= {
        "calibration_error": calibrated.error,
        "examples": len(examples),
        "entities": int(counts[:, 2].sum()),
        "entities_found": int(counts[:, 1].sum()),
        "per_type": each,
        "confusion_matrix": {"labels": names, "rows_are_right": matrix.tolist()},
    }
    drawn = [reliability(calibrated, "Of the entities found: how often one was right, by its score.")]
    if len(names) <= 30:
        note = "Entities that overlap; none where no other does. Shades are shares of a row."
        drawn.insert(0, Plot(title="What was taken for what", svg=plots.confusion(matrix, names), note=note))
    if len(sure):
        drawn.append(sureness(sure, is_right, "score of an entity found"))
    tables = [class_table(each), *_mistakes(examples["text"], right, found, words)]
    return Judgement(figures=figures, plots=drawn, tables=tables)


def _scheme(labels: Sequence[str]) -> str:
    """The scheme of classes, by the places that they name; "" where none says where an entity begins."""
    places = {tags.parse(label)[0] for label in labels}
    if places & {tags.END, tags.SINGLE}:
        return "BIOES"
    return "BIO" if tags.BEGIN in places else ""


def _words(task, texts: list[str], batch_size: int) -> Iterator[list[Word]]:
    """The words of each text with the tags that the task gives them."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def run(some):
        tokens = task.tokenize({"text": some})
        words, classes, scores = task.read_words(task.logits(tokens), tokens)
        return words.row, words.starts, words.ends, classes, tf.gather(scores, classes, batch_dims=1)

    for first in range(0, len(texts), batch_size):
        some = texts[first : first + batch_size]
        read: list[list[Word]] = [[] for _ in some]
        columns = (column.numpy().tolist() for column in run(tf.constant(some)))
        for row, start, end, number, score in zip(*columns, strict=True):
            read[row].append(Word(start, end, task.labels[number], score))
        yield from read


def _of_tokens(words: Sequence[Word], spans: Sequence[Sequence[int]]) -> list[Word]:
    """The tokens of the data, each with the tag of the first word in it; those in which the model sees none are O."""
    read, place = [], 0
    for start, end in spans:
        while place < len(words) and words[place].end <= start:
            place += 1
        first = words[place] if place < len(words) and words[place].start < end else None
        read.append(Word(start, end, first.tag if first else "O", first.score if first else 1.0))
    return read


def _entities(words: Sequence[Word], scheme: str) -> list[Found]:
    found = []
    for first, until, kind in tags.entities([word.tag for word in words]):
        these = words[first:until]
        places = [tags.parse(word.tag)[0] for word in these]
        score = float(np.mean([word.score for word in these]))
        found.append(Found(Entity(these[0].start, these[-1].end, kind), score, is_proper(places, scheme)))
    return found


def _whole(counts: np.ndarray) -> dict[str, np.ndarray]:
    return entity_f1(counts.sum(0))


def _with_intervals(counts: np.ndarray) -> dict[str, Any]:
    """Figures over all entities, with intervals by the bootstrap over texts; counts ``[N, 3, K]``."""
    figures: dict[str, Any] = {}
    for name, value in _whole(counts).items():
        figures[name] = float(value)
        figures[f"{name}_interval_95"] = list(
            metrics.bootstrap_interval(lambda some, name=name: float(_whole(some)[name]), counts)
        )
    figures["macro_f1"] = float(entity_macro_f1(counts.sum(0)))
    figures["macro_f1_interval_95"] = list(
        metrics.bootstrap_interval(lambda some: float(entity_macro_f1(some.sum(0))), counts)
    )
    return figures


def _without_types(rows: Sequence[Sequence[Entity]]) -> list[list[Entity]]:
    return [[one._replace(type="") for one in row] for row in rows]


def _f1_of(right, given) -> float:
    return float(_whole(entity_counts(right, given, [""]))["f1"])


def _surface_f1(texts, right, given) -> float:
    """F1 of different names: each spelling with its type counts once, however often it occurs."""

    def names(rows):
        return {(texts[row][one.start : one.end], one.type) for row, these in enumerate(rows) for one in these}

    both = [[one for one in these if one in set(there)] for these, there in zip(given, right, strict=True)]
    total = len(names(right)) + len(names(given))
    return 2 * len(names(both)) / total if total else 0.0


def _matrix(right, given, types: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """What entities were taken for, by those that overlap, int64 ``[K + 1, K + 1]``; the last row and column: none."""
    numbers = {kind: number for number, kind in enumerate(types)}
    matrix = np.zeros([len(types) + 1, len(types) + 1], np.int64)
    for there, found in zip(right, given, strict=True):
        for one in there:
            other = _overlapping(one, found)
            matrix[numbers[one.type], numbers[other.type] if other else -1] += 1
        for one in found:
            if _overlapping(one, there) is None:
                matrix[-1, numbers[one.type]] += 1
    return matrix, [*types, NONE]


def _overlapping(one: Entity, others: Sequence[Entity]) -> Entity | None:
    """The same entity among others, or the first that shares a character with it."""
    if one in others:
        return one
    return next((other for other in others if other.start < one.end and one.start < other.end), None)


def _mistakes(texts, right, found, words) -> list[Table]:
    """Tables of what went wrong: how often, and the worst of each kind."""
    invented, missed, mistaken, kinds = [], [], [], dict.fromkeys(("missed", "invented", "type", "ends", "both"), 0)
    for row, (text, there, these) in enumerate(zip(texts, right, found, strict=True)):
        answered = [one.entity for one in these]
        for one in these:
            other = _overlapping(one.entity, there)
            if other is None:
                kinds["invented"] += 1
                invented.append((one.score, [_shown(text, one.entity), NONE, one.entity.type]))
            elif other != one.entity:
                wrong_ends, wrong_type = other[:2] != one.entity[:2], other.type != one.entity.type
                kinds["both" if wrong_ends and wrong_type else "ends" if wrong_ends else "type"] += 1
                instead = f"{text[other.start : other.end]} ({other.type})"
                mistaken.append((one.score, [_shown(text, one.entity), instead, one.entity.type]))
        for entity in there:
            if _overlapping(entity, answered) is None:
                kinds["missed"] += 1
                inside = [word.score for word in words[row] if word.start < entity.end and entity.start < word.end]
                missed.append((float(np.mean(inside or [1.0])), [_shown(text, entity), entity.type, NONE]))
    spoken = {
        "missed": "missed",
        "invented": "found where there is none",
        "type": "of another type",
        "ends": "with other ends",
        "both": "with other ends and of another type",
    }
    tables = [
        Table(
            title="What went wrong", columns=["entities", "how many"], rows=[[spoken[k], n] for k, n in kinds.items()]
        )
    ]
    for title, rows in (
        ("Found where there is none", invented),
        ("Missed", missed),
        ("Of another type, or with other ends", mistaken),
    ):
        worst = sorted(rows, key=lambda one: -one[0])[:MISTAKES]
        tables.append(
            Table(
                title=title,
                columns=["text", "right", "answered", "score"],
                rows=[[*columns, score] for score, columns in worst],
                note=f"{len(worst)} of {len(rows)}, those first of which the model was surest.",
            )
        )
    return tables


def _shown(text: str, entity: Entity) -> str:
    """An entity in brackets, with what stands around it."""
    start, end = max(0, entity.start - AROUND), entity.end + AROUND
    before = ("\u2026" if start else "") + text[start : entity.start]
    after = text[entity.end : end] + ("\u2026" if end < len(text) else "")
    return f"{before}[{text[entity.start : entity.end]}]{after}"
