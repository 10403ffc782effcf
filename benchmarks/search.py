"""The graph of neighbours beside exact search: how many of the nearest passages it finds, and in which time.

python benchmarks/search.py INDEX QUERIES  (an index built with --neighbours; a text file with a query a line)
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import kzoo

TOP = 10
ROUNDS = 7


def measured(index, vectors: np.ndarray) -> dict:
    """Recall of the graph at 10, and milliseconds a query of both ways, alternating, one query at a time."""
    exact = index.nearest(vectors, top=TOP, exact=True)[1]
    near = index.nearest(vectors, top=TOP, exact=False)[1]
    found = [len(set(one) & set(two)) / len(two) for one, two in zip(near.tolist(), exact.tolist(), strict=True)]
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for way, taken in times.items():
            begin = time.perf_counter()
            for vector in vectors:
                index.nearest(vector[np.newaxis], top=TOP, exact=way)
            taken.append(1000 * (time.perf_counter() - begin) / len(vectors))
    ratios = [exactly / nearly for exactly, nearly in zip(times[True], times[False], strict=True)]
    return {
        "passages": len(index),
        "queries": len(vectors),
        f"recall_at_{TOP}": float(np.mean(found)),
        "exact_milliseconds": statistics.median(times[True]),
        "neighbours_milliseconds": statistics.median(times[False]),
        "exact_over_neighbours": statistics.median(ratios),
        "ratios_from": min(ratios),
        "ratios_to": max(ratios),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("queries")
    given = parser.parse_args()
    opened = kzoo.Index(given.index)
    lines = [line for line in Path(given.queries).read_text(encoding="utf-8").splitlines() if line.strip()]
    print(json.dumps(measured(opened, opened.task.vectors(lines[:500]))))
