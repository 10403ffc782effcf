"""Training steps of BERT-base and GPT-2 small sizes: kzoo, KerasHub and PyTorch; real tokens a second.

    python benchmarks/training.py

Needs the extra ``parity`` for PyTorch. Every peer takes whole steps in float32: forward, backward, clipping, AdamW.
The text is Shakespeare's speeches, or the paragraphs of ``--text FILE``. BERT learns to fill masks (15%) in
rows of 12 to 128 tokens, GPT-2 the next token in packed blocks of 128; 8 rows a step. ``equal``: all rows have 128
tokens. ``plain``: no dropout. A round is one pass over the same rows.
"""

import argparse
import importlib.util
import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import harness
import training_peers as peers

CASES = ["bert", "bert-plain", "bert-equal", "gpt2", "gpt2-plain", "gpt2-equal"]
WORKERS = {
    "kzoo": (peers.kzoo, "tensorflow"),
    "kzoo, XLA": (partial(peers.kzoo, jit=True), "tensorflow"),
    "KerasHub": (peers.keras_hub, "keras_hub"),
    "KerasHub, XLA": (partial(peers.keras_hub, jit=True), "keras_hub"),
    "PyTorch": (peers.pytorch, "torch"),
    "PyTorch, compiled": (partial(peers.pytorch, compiled=True), "torch"),
}
USUAL = ["kzoo", "KerasHub", "PyTorch"]


def arguments() -> argparse.Namespace:
    """The command line."""
    return harness.arguments(
        __doc__.splitlines()[0],
        CASES,
        [
            ("--text", {"help": "a text file, paragraphs between empty lines"}),
            ("--steps", {"type": int, "default": 8, "help": "batches of a round"}),
            ("--only", {"nargs": "+", "choices": CASES, "default": CASES, "help": "cases"}),
            ("--peers", {"nargs": "+", "choices": WORKERS, "default": USUAL, "help": "whom; the first is compared"}),
            ("--tiny", {"action": "store_true", "help": argparse.SUPPRESS}),
        ],
    )


def main() -> None:
    """Runs one worker, or compares all of them."""
    options = arguments()
    shape = peers.TINY if options.tiny else None
    if options.worker:
        build = WORKERS[options.worker][0]
        harness.serve_worker(lambda case: build(peers.Case(case, options.text, options.steps, shape)), options.case)
        return
    names = [name for name in options.peers if importlib.util.find_spec(WORKERS[name][1])]
    print(harness.machine(["tensorflow", "keras", "keras-hub", "torch", "transformers"]), "\n")
    further = ["--steps", str(options.steps)]
    further += ["--text", options.text] if options.text else []
    further += ["--tiny"] if options.tiny else []
    for case in options.only:
        rows = harness.compare(__file__, names, case, options.rounds, further)
        columns = {
            case: lambda row: row["name"],
            "real tokens a second": lambda row: f"{1 / row['median']:.0f}",
            "ms a step": lambda row: f"{1e3 * row['median'] * row['amount'] / row['steps']:.0f}",
            "time over the first's (lowest to highest)": lambda row: (
                f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
            ),
            "core-seconds a step": lambda row: f"{row['core_seconds'] / row['steps']:.2f}",
            "core-seconds over the first's": lambda row: f"{row['core_ratio']:.2f}",
            "tokens a round": lambda row: str(row["amount"]),
            "loss, last round": lambda row: f"{row['loss']:.2f}",
            "memory peak, GB": lambda row: f"{row['memory']:.1f}",
        }
        print(harness.table(rows, columns), "\n", flush=True)


if __name__ == "__main__":
    main()
