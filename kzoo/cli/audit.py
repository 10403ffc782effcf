"""``kzoo audit``: whether the stock TensorFlow Serving can run a SavedModel, and how large its parts are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kzoo.cli.output import count, print_json, print_table, say
from kzoo.exit_codes import FOUND


def audit(
    directory: Annotated[str, typer.Argument(metavar="SAVED_MODEL", help="The SavedModel's folder.")],
    serving: Annotated[str, typer.Option(help="Version of TensorFlow Serving: 2.19, 2.20 or 2.21.")] = "2.19",
    operations: Annotated[
        bool, typer.Option("--operations", help="Name every operation of every signature, with its attributes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that is known, as JSON.")] = False,
) -> None:
    """Say whether the stock TensorFlow Serving runs a SavedModel.

    Any SavedModel, whoever wrote it: its operations and their attributes are held against what the stock server of
    that version links; file, network and Python operations and functions that want XLA are named; functions,
    constants, weights and warm-up requests are sized; and it says whether the server may join requests. The graph is
    read, not run.

    Ends with 0 when nothing stands in the way, with 1 when something does.

    \b
    Examples:
      kzoo audit exports/reviews
      kzoo audit exports/reviews --serving 2.20 --operations
      kzoo audit exports/reviews --json > audit.json
    """
    from kzoo.serving.audit_report import report

    found = report(directory, serving=serving)
    if as_json:
        print_json(found)
    else:
        _print(directory, found, operations)
    if not found["servable"]:
        raise typer.Exit(FOUND)


def _print(directory: str, found: dict[str, Any], operations: bool) -> None:
    signatures = found["signatures"]
    print_table(
        ("signature", "inputs", "outputs", "operations", "nodes", "functions", "batching"),
        [
            (
                name,
                _tensors(one["inputs"]),
                _tensors(one["outputs"]),
                len(one["operations"]),
                one["nodes"],
                one["functions"],
                _batching(one["batching"]),
            )
            for name, one in signatures.items()
        ],
        right=("operations", "nodes", "functions"),
    )
    if operations:
        print_table(
            ("operation", "attributes", "nodes", "linked", "signature"),
            [
                (operation, " ".join(use["attributes"]), use["nodes"], "yes" if use["linked"] else "NO", name)
                for name, one in signatures.items()
                for operation, use in one["operations"].items()
            ],
            right=("nodes",),
        )
    _print_sizes(found)
    for name, one in signatures.items():
        for note in one["batching"]["notes"]:
            print(f"batching of {name}: {note}.")
        for key, note in one["strings"].items():
            print(f"text of {name}: {key}: {note}.")
        if one["compiled"]:
            print(
                f"XLA of {name}: {len(one['compiled'])} places are compiled. The stock server refuses them unless it "
                "was started with --xla_cpu_compilation_enabled or --xla_gpu_compilation_enabled."
            )
    if found["verified"]:
        verified = found["verified"]
        print(f"exported by kzoo {verified['kzoo']} ({verified['task']}), which loaded it and compared its answers.")
    for problem in found["problems"]:
        print(f"PROBLEM: {problem}")
    version = found["serving"]
    if found["servable"]:
        say(f"The stock TensorFlow Serving {version} links all that {directory} needs.")
    else:
        number = len(found["problems"])
        say(f"The stock TensorFlow Serving {version} cannot serve {directory}: {number} problem{'s' * (number > 1)}.")


def _print_sizes(found: dict[str, Any]) -> None:
    weights, constants, size = found["weights"], found["constants"], found["bytes"]
    kinds = ", ".join(f"{count(one['parameters'])} {dtype}" for dtype, one in weights["by_dtype"].items())
    each = found["functions"]["each"]
    largest = max(each, key=lambda name: each[name]["nodes"], default="")
    rows = [
        ("folder", f"{count(size['folder'])}B", f"graph {count(size['graph'])}B, assets {count(size['assets'])}B"),
        ("weights", f"{count(weights['bytes'])}B", f"{weights['tensors']} tensors: {kinds or 'none'}"),
        (
            "functions",
            found["functions"]["count"],
            f"{found['functions']['nodes']} nodes"
            + (f"; the largest, {largest}, has {each[largest]['nodes']}" if largest else ""),
        ),
        ("constants", f"{count(constants['bytes'])}B", f"{constants['count']} in all"),
        *(
            ("", f"{count(one['bytes'])}B", f"{one['dtype']} {one['shape']}, {one['node']} of {_where(one)}")
            for one in constants["largest"][:3]
            if one["bytes"] >= 1000
        ),
        (
            "warm-up",
            found["warm_up"]["records"],
            ", ".join(f"{name} {number}" for name, number in found["warm_up"]["by_signature"].items()),
        ),
    ]
    print_table(("part", "size", "what"), rows, right=("size",))


def _where(constant: dict[str, Any]) -> str:
    return constant["function"] or "the graph"


def _tensors(entries: dict[str, Any]) -> str:
    return ", ".join(f"{name} {one['dtype']} {_shape(one['shape'])}" for name, one in entries.items())


def _shape(shape: list[int | None] | None) -> str:
    """``[B, ?, 384]``: B for the batch, ? for any size."""
    if shape is None:
        return "[...]"
    dims = ["?" if size is None else str(size) for size in shape]
    return f"[{', '.join(['B', *dims[1:]] if dims[:1] == ['?'] else dims)}]"


def _batching(one: dict[str, Any]) -> str:
    if not one["is_legal"]:
        return "no"
    return "equal shapes only" if one["inputs_may_differ"] else "yes"
