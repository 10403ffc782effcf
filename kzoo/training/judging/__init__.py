"""What a task's answers to examples are worth: the field's figures with their intervals, and a report of them.

``kzoo.evaluate`` gives what training watches, on any number of devices. This reads every answer once more closely, on
one device. A file for each kind of answer.
"""

from collections.abc import Callable
from typing import Any

from kzoo.data.examples import Examples
from kzoo.data.token_folder import as_examples
from kzoo.errors import UserError
from kzoo.training.evaluate import evaluate
from kzoo.training.judging import vectors
from kzoo.training.judging.answers import judge_answers
from kzoo.training.judging.classes import judge_classes
from kzoo.training.judging.entities import judge_entities
from kzoo.training.judging.few_shot import judge_few_shot
from kzoo.training.judging.judgement import Judgement
from kzoo.training.judging.labels import judge_labels
from kzoo.training.judging.numbers import judge_numbers
from kzoo.training.judging.texts import judge_texts
from kzoo.training.judging.tokens import judge_tokens
from kzoo.training.judging.vectors import judge_vectors

__all__ = ["JUDGES", "Judgement", "columns_of", "judge"]


JUDGES: dict[str, Callable[[Any, Any, int], Judgement]] = {
    "answer": judge_answers,
    "classify": judge_classes,
    "few_shot": judge_few_shot,
    "several": judge_labels,
    "regress": judge_numbers,
    "embed": judge_vectors,
    "generate": judge_tokens,
    "tag": judge_entities,
    "pairs": judge_texts,
}


def judge(task, examples, *, batch_size: int = 32) -> Judgement:
    """Measures a task on examples, with all that its kind of answer is measured by.

    Args:
        task: an ``Answer``, ``Classify``, ``Regress``, ``Generate``, ``Embed`` or ``Tag``; any other task that can be
            trained is measured as ``kzoo.evaluate`` does.
        examples: columns of ``columns_of(task)``.
        batch_size: rows at once; the result does not depend on it.

    Returns:
        ``classify`` and ``few_shot``: ``loss``, ``accuracy`` with Wilson's interval, ``macro_f1`` and
        ``matthews_correlation`` with bootstrap intervals, ``calibration_error``, ``area_under_risk_coverage``,
        ``per_class``, and where the task may abstain ``coverage`` and ``answered_accuracy``; of free text
        ``exact_match`` and ``f1``. With several labels ``exact_match``,
        ``label_accuracy``, ``macro_f1``, ``micro_f1``, ``calibration_error`` of the decisions, ``per_class``.
        ``regress``: ``loss``, ``absolute_error``, ``root_squared_error``, ``pearson``, ``spearman``. ``embed``, of
        pairs with a number: ``pearson`` and ``spearman`` of the cosines; of other pairs, each text sought among all:
        ``recall_at_1``, ``recall_at_5``, ``recall_at_10``, ``mean_reciprocal_rank``. ``generate``: ``loss`` of a token,
        ``perplexity`` with a bootstrap interval over rows, ``accuracy`` of the next token, ``tokens``. ``answer``:
        ``exact_match`` and ``f1`` of SQuAD with bootstrap intervals over passages (over articles from 10 on), those of
        questions with and without an answer, ``best_f1`` and ``best_exact_match`` with their thresholds, and
        ``answering_nothing``, what a model would have that never answers. ``tag``: ``precision``, ``recall`` and ``f1``
        of entities as ``seqeval`` counts them and ``macro_f1`` over types, with bootstrap intervals over texts;
        ``strict_f1`` (``seqeval``'s strict mode), ``boundary_f1`` whatever the type, ``surface_f1`` of different names,
        ``calibration_error``, ``per_type``. Examples with a column ``tokens`` (CoNLL's) are measured token by token.
    """
    examples = as_examples(examples)
    if len(examples) == 0:
        raise UserError("There is nothing to evaluate: the examples are empty.")
    kind = "several" if getattr(task, "multi_label", False) else task.name
    if kind == "generate" and isinstance(examples, Examples) and "answer" in task.columns_in(examples):
        kind = "pairs"
    if kind not in JUDGES:
        return Judgement(figures=evaluate(task, examples, batch_size=batch_size))
    return JUDGES[kind](task, examples, batch_size)


def columns_of(task) -> list[str]:
    """The columns that ``judge`` needs; it reads an embedder's ``label``, too, where there is one."""
    return vectors.COLUMNS if task.name == "embed" else list(task.columns)
