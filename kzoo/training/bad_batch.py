"""What a step read: found from the plan when its loss was not a number."""

from typing import Any

from kzoo.data.batching import Batches, columns_in
from kzoo.data.examples import Examples
from kzoo.training.run_folder import RunFolder

CHARACTERS = 100


def identify(batches: Batches, examples, step: int) -> dict[str, Any]:
    """The examples of a step.

    Args:
        batches: of the run.
        examples: of which they were made.
        step: counted from 1 since the run began.

    Returns:
        ``step``, ``epoch`` and ``step_of_epoch`` (all from 1), ``length`` in tokens to which the batch was padded, and
        ``examples``: the ``row`` of each (from 1, in the order of the training examples) and its first characters.
    """
    epoch, number = divmod(step - 1, batches.steps)
    plan = batches.plan(epoch)
    rows = [int(batches.example_of_row[row]) for row in plan.rows[number][: plan.counts[number]]]
    return {
        "step": step,
        "epoch": epoch + 1,
        "step_of_epoch": number + 1,
        "length": int(plan.lengths[number]),
        "examples": [{"row": row + 1, **_beginning(batches.task, examples, row)} for row in dict.fromkeys(rows)],
    }


def tell(folder: RunFolder | None, batches: Batches, train, step: int) -> str:
    """Says what the batch of a step was made of, and writes it down."""
    found = identify(batches, train, step)
    at = f"That was step {found['step_of_epoch']} of epoch {found['epoch']}; its batch held the examples in the rows"
    rows = [str(one["row"]) for one in found["examples"]]
    more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
    written = ""
    if folder is not None:
        folder.write_bad_batch(found)
        written = f" ({folder.bad_batch} shows them)"
    return f"{at} {', '.join(rows[:8])}{more}{written}."


def _beginning(task, examples, row: int) -> dict[str, Any]:
    """The columns that the task reads, texts cut; nothing where there are token ids only."""
    if not isinstance(examples, Examples):
        return {}
    values = {name: examples[name][row] for name in columns_in(task, examples) if name in examples}
    return {
        name: value[:CHARACTERS] if isinstance(value, str) else getattr(value, "item", lambda value=value: value)()
        for name, value in values.items()
    }
