"""The page about a preparation: what was dropped at which step and why, with examples and lengths."""

from __future__ import annotations

import json
import math
from typing import Any

SPOKEN = {
    "empty": "empty",
    "language": "other language",
    "exact_duplicate": "exact duplicate",
    "held_out": "stands in the held-out data",
    "held_out_near": "nearly stands in the held-out data",
    "near_duplicate": "near duplicate",
    "label_conflict": "duplicates disagree on the label",
    "und": "unknown",
    "short": "too short to tell",
}

NOTES = {
    "near_duplicate": "The similarity is Jaccard's, of the shingles of both texts.",
    "held_out_near": "The similarity is Jaccard's, of the shingles of both texts.",
    "label_conflict": "The document, its label, and the label of the one that it is like.",
}


def spoken(name: str) -> str:
    """A reason or kind in words."""
    which, _, measure = name.partition("_")
    if which in ("least", "most"):  # a bound of the section filters
        return f"{'below' if which == 'least' else 'above'} {which} {measure.replace('_', ' ')}"
    return SPOKEN.get(name) or name.replace("_", " ")


def steps(report: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Each step with the documents that it dropped and those left after it."""
    left = report["documents"]["read"]
    rows = [("read", 0, left)]
    for reason, counts in report["dropped"].items():
        left -= counts["documents"]
        rows.append((spoken(reason), counts["documents"], left))
    return [*rows, ("written", 0, report["documents"]["written"])]


def page(report: dict[str, Any]) -> str:
    """``report.html``: one page with all that it needs inside."""
    from kzoo.metrics.report import Plot, Report, Table

    documents, characters = report["documents"], report["characters"]
    dropped = {spoken(reason): counts["characters"] for reason, counts in report["dropped"].items()}
    rows_of_steps = [(step, number or "", dropped.get(step, ""), left) for step, number, left in steps(report)]
    tables = [Table(title="Steps", columns=["step", "dropped", "their characters", "left"], rows=rows_of_steps)]
    for name, title, columns in (
        ("changed", "Normalized", ["what", "documents changed"]),
        ("redacted", "Redacted", ["kind", "replaced"]),
        ("languages", "Languages", ["language", "documents"]),
    ):
        if report[name]:
            rows = [(spoken(key), number) for key, number in report[name].items()]
            tables.append(Table(title=title, columns=columns, rows=rows))
    if "labels" in report:
        before, after = report["labels"]["read"], report["labels"]["written"]
        counts = [(name, number, after.get(name, 0)) for name, number in before.items()]
        tables.append(
            Table(
                title="Labels",
                columns=["label", "read", "written"],
                rows=counts,
                note=f"Duplicates whose label differs from that of their like: {report['label_conflicts']}.",
            )
        )
    tables += [_examples(reason, found) for reason, found in report["examples"].items()]
    files = [[one["name"], one["documents"], one["bytes"], one["sha256"]] for one in report["files"]]
    tables.append(Table(title="Files written", columns=["file", "documents", "bytes", "sha256"], rows=files))
    sources = [
        [one.get("path") or one["data_set"], what, one.get("bytes", ""), one.get("sha256", "")]
        for what, name in (("input", "inputs"), ("held out", "against"))
        for one in report[name]
    ]
    tables.append(Table(title="Files read", columns=["file", "as", "bytes", "sha256"], rows=sources))
    settings = [(key, json.dumps(value, ensure_ascii=False)) for key, value in _flat(report["preparation"])]
    tables.append(Table(title="Settings", columns=["setting", "value"], rows=settings))
    run = report["run"]
    plots = [
        Plot(
            title="Lengths of documents",
            svg=lengths(report["lengths"]["read"], report["lengths"]["written"]),
            note="Characters on a logarithmic scale; read and written side by side.",
        )
    ]
    return Report(
        title="Data preparation",
        facts={
            "inputs": ", ".join(row[0] for row in sources if row[1] == "input"),
            "took": f"{run['seconds']} s with {run['workers']} process{'es' if run['workers'] > 1 else ''}",
            "libraries": ", ".join(f"{name} {version}" for name, version in report["libraries"].items()) or "none",
            "kzoo": report["kzoo"],
        },
        figures={
            "documents_read": documents["read"],
            "documents_written": documents["written"],
            "documents_kept": documents["written"] / documents["read"],
            "characters_read": characters["read"],
            "characters_written": characters["written"],
            "characters_kept": characters["written"] / max(characters["read"], 1),
        },
        plots=plots,
        tables=tables,
    ).html()


def lengths(read: list, written: list) -> str:
    """Histograms of lengths before and after, each bin a quarter of a power of ten."""
    from kzoo.metrics.plots import COLOURS, Axes

    before, after = dict(map(tuple, read)), dict(map(tuple, written))
    edges = sorted({edge for edge in [*before, *after] if edge > 0}) or [1]
    low, high = math.log10(edges[0]), math.log10(edges[-1]) + 0.25
    most = max([*before.values(), *after.values(), 1])
    axes = Axes((low, high), (0, most), "characters, as a power of ten", "documents")
    for edge in edges:
        left = math.floor(4 * math.log10(edge) + 1e-9) / 4
        for place, counts in enumerate((before, after)):
            number = counts.get(edge, 0)
            if number:
                begin = left + place * 0.125
                axes.bar(begin, begin + 0.125, 0, number, COLOURS[place], f"{edge:,} characters and more: {number:,}")
    return axes.svg("Lengths of documents", [("read", COLOURS[0]), ("written", COLOURS[1])])


def _examples(reason: str, found: list[dict[str, Any]]):
    from kzoo.metrics.report import Table

    compared = any("like" in one for one in found)
    columns = ["where", "dropped"]
    if any("measure" in one for one in found):
        columns.append("label" if reason == "label_conflict" else "it had")
    if compared:
        columns += ["label there" if reason == "label_conflict" else "kept" if "held" not in reason else "held out"]
        columns += ["where"]
    if any("similarity" in one for one in found):
        columns.append("similarity")
    rows = []
    for one in found:
        row = [one["where"], one["text"]]
        row += [one[name] for name in ("measure", "like", "at", "similarity") if name in one]
        rows.append(row)
    title = f"Examples: {spoken(reason)}"
    return Table(title=title, columns=columns, rows=rows, note=NOTES.get(reason, ""))


def _flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, dict) and value and not all(isinstance(one, float) for one in value.values()):
            rows += _flat(value, f"{prefix}{key}.")
        elif value not in (None, [], {}):
            rows.append((f"{prefix}{key}", value))
    return rows
