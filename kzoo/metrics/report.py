"""A page about an evaluation that a person looks at: one file, with all that it needs inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a report.

    Attributes:
        title: its heading.
        columns: the names of its columns.
        rows: texts and numbers; they are escaped.
        note: a sentence below the heading.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing of a report.

    Attributes:
        title: its heading.
        svg: the drawing, from ``kzoo.metrics.plots``; put in as it is.
        note: how to read it.
    """

    title: str
    svg: str
    note: str = ""


@dataclass(kw_only=True)
class Report:
    """What stands in ``report.html``.

    Attributes:
        title: of the page.
        facts: what was measured on what: name to text.
        figures: name to value; ``NAME_interval_95`` stands beside NAME.
        plots: the drawings, in their order.
        tables: the tables, in their order.
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def html(self) -> str:
        """The page."""
        import jinja2

        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        environment.filters["shown"] = shown
        template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
        return template.render(report=self, figures=with_intervals(self.figures))


def with_intervals(figures: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Names, values and intervals as a person reads them; what is no single value is left out."""
    rows = []
    for name, value in figures.items():
        if "_interval_" in name or isinstance(value, dict | list):
            continue
        interval = figures.get(f"{name}_interval_95")
        rows.append((name.replace("_", " "), value, between(interval) if interval else ""))
    return rows


def between(interval: Sequence[float]) -> str:
    """An interval as a person reads it."""
    low, high = interval
    return f"{shown(low)} to {shown(high)}"


def shown(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
