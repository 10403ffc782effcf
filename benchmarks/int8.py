"""Weights of eight bits: the products of one token with all matrices of a GPT-2 small, kept in several ways.

    python benchmarks/int8.py --rows 1 5

No model, only the products that take its time: 12 layers' matrices and the output layer, 124 million weights, as many
rows at once as ``--rows`` says (a batch, or a draft that is read ahead). ``int8`` is weights with a scale for each
column (symmetric, 127 steps), activations as they are; the plain graph has to write a matrix as float32 before it can
multiply by it, XLA may do both at once. ``summed`` is the product as XLA fuses it best: a multiplication and a sum.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import harness
import numpy as np

WIDTH, LAYERS, VOCABULARY = 768, 12, 50257
SHAPES = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] * LAYERS + [(WIDTH, VOCABULARY)]
REPEATS = 10


def products(multiply, keep, jit_compile: bool):
    """A worker: all products, of vectors that are not known when the graph is made, ten times over."""

    def setup(case: str):
        import tensorflow as tf

        draw = np.random.default_rng(0)
        kernels = [keep(tf, draw.standard_normal(shape, "float32")) for shape in SHAPES]

        @tf.function(jit_compile=jit_compile, autograph=False)
        def all_products(some):
            return [tf.reduce_sum(multiply(tf, some[kernel.width], *kernel.parts)) for kernel in kernels]

        some = {width: tf.ones([int(case), width]) for width in (WIDTH, 4 * WIDTH)}

        def run():
            for _ in range(REPEATS):
                found = all_products(some)
            return {"found": float(found[-1])}

        return run

    return setup


class Kernel:
    """A matrix as it is kept: the width that it takes, and its parts as variables."""

    def __init__(self, tf, width: int, *parts):
        self.width = width
        self.parts = [tf.Variable(part, trainable=False) for part in parts]


def in_type(name: str):
    """A matrix in a floating type."""
    return lambda tf, matrix: Kernel(tf, len(matrix), tf.cast(matrix, name))


def in_steps(tf, matrix, turned=False):
    """A matrix in int8, a scale for each column; turned, a column is in one piece of memory."""
    scale = np.abs(matrix).max(axis=0) / 127
    steps = np.round(matrix / scale).astype("int8")
    return Kernel(tf, len(matrix), steps.T if turned else steps, scale)


def multiply(tf, x, matrix):
    """A matrix of the activations' type, or of a lower one."""
    return tf.matmul(tf.cast(x, matrix.dtype), matrix)


def multiply_steps(tf, x, steps, scale):
    """A matrix in int8, made float32 first."""
    return tf.matmul(x, tf.cast(steps, tf.float32)) * scale


def sum_steps(tf, x, steps, scale):
    """A matrix in int8 and turned, as a sum."""
    return tf.reduce_sum(x[:, None, :] * tf.cast(steps, tf.float32)[None], axis=2) * scale


WORKERS = {
    "float32": products(multiply, in_type("float32"), False),
    "bfloat16": products(multiply, in_type("bfloat16"), False),
    "int8": products(multiply_steps, in_steps, False),
    "float32, XLA": products(multiply, in_type("float32"), True),
    "bfloat16, XLA": products(multiply, in_type("bfloat16"), True),
    "int8, XLA": products(multiply_steps, in_steps, True),
    "int8, summed, XLA": products(sum_steps, lambda tf, matrix: in_steps(tf, matrix, turned=True), True),
}


def main() -> None:
    """Runs one worker, or compares all of them."""
    cases = [str(number) for number in range(1, 33)]
    further = [("--rows", dict(nargs="+", choices=cases, default=["1"], help="rows at once"))]
    options = harness.arguments(__doc__.splitlines()[0], cases, further)
    if options.worker:
        harness.serve_worker(WORKERS[options.worker], options.case)
        return
    print(harness.machine(["tensorflow"]), "\n")
    for case in options.rows:
        rows = harness.compare(__file__, list(WORKERS), case, options.rounds)
        columns = {
            f"{case} rows": lambda row: row["name"],
            "ms (lowest to highest)": lambda row: (
                f"{row['median'] * 1e3 / REPEATS:.1f} "
                f"({row['low'] * 1e3 / REPEATS:.1f} to {row['high'] * 1e3 / REPEATS:.1f})"
            ),
            "time over float32's": lambda row: f"{row['ratio']:.2f}",
            "core-seconds over float32's": lambda row: f"{row['core_ratio']:.2f}",
        }
        print(harness.table(rows, columns), "\n", flush=True)


if __name__ == "__main__":
    main()
