"""Which of two values of a measure is the better one."""

import re

_LESS_IS_BETTER = re.compile(r"loss|perplexity|error|mae|mse")


def less_is_better(measure: str) -> bool:
    """Whether the least is best, as of losses, errors and perplexities; of all else the greatest is."""
    return _LESS_IS_BETTER.search(measure) is not None
