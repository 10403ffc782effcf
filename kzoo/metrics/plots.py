"""Plots as inline SVG, without a library and without a network: the colours are those of the page (``report.html``)."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

# C classes, N points; all lengths in pixels of the drawing

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40
COLOURS = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
_ROW = 30  # a row of a confusion matrix


class Axes:
    """A frame with ticks, and where points stand in it.

    Args:
        x: least and largest value of the horizontal axis.
        y: of the vertical one.
        x_title: what stands below.
        y_title: what stands at the left.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_title: str, y_title: str):
        self.x, self.y = _wide(x), _wide(y)
        self._parts = []
        for value in _ticks(*self.x):
            at = self.across(value)
            self._parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            self._parts.append(_text(at, HEIGHT - BOTTOM + 15, _number(value), "middle"))
        for value in _ticks(*self.y):
            at = self.up(value)
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
            self._parts.append(_text(LEFT - 6, at + 4, _number(value), "end"))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title, "middle"))
        turned = f'transform="rotate(-90 12 {middle})"'
        self._parts.append(_text(12, middle, y_title, "middle", turned))

    def across(self, value: float) -> float:
        """Where a value of the horizontal axis stands."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(self, value: float) -> float:
        """Where a value of the vertical axis stands."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, x: Iterable[float], y: Iterable[float], colour: str, extra: str = "") -> None:
        """Draws a line through points."""
        points = " ".join(f"{self.across(one)},{self.up(other)}" for one, other in zip(x, y, strict=True))
        self._parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" {extra}/>')

    def dots(self, x: Iterable[float], y: Iterable[float], colour: str) -> None:
        """Draws points."""
        for one, other in zip(x, y, strict=True):
            at = f'cx="{self.across(one)}" cy="{self.up(other)}"'
            self._parts.append(f'<circle {at} r="2.5" fill="{colour}" fill-opacity="0.6"/>')

    def ring(self, x: float, y: float, colour: str, title: str) -> None:
        """Draws a ring around a point, and its title above."""
        at = self.across(x), self.up(y)
        ring = f'cx="{at[0]}" cy="{at[1]}" r="6" fill="none" stroke="{colour}" stroke-width="1.5"'
        self._parts.append(f"<circle {ring}/>")
        self._parts.append(_text(at[0], at[1] - 10, title, "end" if at[0] > WIDTH / 2 else "start"))

    def bar(self, left: float, right: float, low: float, high: float, colour: str, title: str) -> None:
        """Draws a bar between values of both axes; the title shows under the pointer."""
        x, y = self.across(left), self.up(high)
        width, height = max(self.across(right) - x - 1, 0.5), max(self.up(low) - y, 0)
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
            f"<title>{escape(title)}</title></rect>"
        )

    def svg(self, title: str, names: Sequence[tuple[str, str]] = ()) -> str:
        """The drawing; ``names`` are the legend's, each with its colour, in rows below."""
        legend, x, y = [], float(LEFT), HEIGHT + 14
        for name, colour in names:
            width = 7 * len(name) + 30
            if x > LEFT and x + width > WIDTH:
                x, y = float(LEFT), y + 18
            legend.append(f'<rect x="{x:.0f}" y="{y - 8}" width="8" height="8" fill="{colour}"/>')
            legend.append(_text(x + 13, y, name, "start"))
            x += width
        return _drawing(title, WIDTH, y + 8 if names else HEIGHT, [*self._parts, *legend])


def confusion(matrix: np.ndarray, labels: Sequence[str]) -> str:
    """A confusion matrix ``[C, C]``: rows are right answers, columns those given; shades are shares of a row."""
    shown = [_short(label) for label in labels]
    left = 28 + 7 * max(map(len, shown))
    cell = max(34, 8 + 7 * max(map(len, shown)))
    top, parts = 26, []
    width, height = left + cell * len(labels) + 8, top + _ROW * len(labels) + 24
    for row, right in enumerate(labels):
        y = top + _ROW * row
        parts.append(_text(left - 6, y + 19, shown[row], "end"))
        parts.append(_text(left + cell * (row + 0.5), top - 8, shown[row], "middle"))
        total = max(int(matrix[row].sum()), 1)
        for column, given in enumerate(labels):
            number = int(matrix[row, column])
            share = number / total
            colour = "var(--one)" if row == column else "var(--two)"
            x = left + cell * column
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{_ROW - 2}" fill="{colour}" '
                f'fill-opacity="{0.06 + 0.84 * share:.3f}"><title>{escape(f"{right} answered as {given}: {number}")}'
                f" ({share:.1%})</title></rect>"
            )
            parts.append(_text(x + cell / 2 - 1, y + 19, str(number), "middle", 'class="strong"' * (share > 0.55)))
    parts.append(_text(left + cell * len(labels) / 2, height - 6, "answered (columns), right (rows)", "middle"))
    return _drawing("Confusion matrix", width, height, parts)


def reliability(edges: np.ndarray, counts: np.ndarray, accuracy: np.ndarray) -> str:
    """A reliability diagram: how often answers of each score were right; on the diagonal all is as it should be."""
    axes = Axes((0, 1), (0, 1), "score of the answer", "share that is right")
    for low, high, count, share in zip(edges, edges[1:], counts, accuracy, strict=False):
        if count:
            axes.bar(low, high, 0, share, "var(--one)", f"{low:.2f} to {high:.2f}: {share:.1%} of {count} right")
    axes.line([0, 1], [0, 1], "var(--muted)", 'stroke-dasharray="4 4"')
    return axes.svg("Reliability diagram")


def curves(named: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Precision over recall, one line a class: its name, recall, precision."""
    axes, legend = Axes((0, 1), (0, 1), "recall", "precision"), []
    for place, (name, recall, precision) in enumerate(named):
        colour = COLOURS[place % len(COLOURS)]
        some = np.unique(np.linspace(0, len(recall) - 1, min(len(recall), 300)).astype(int))
        axes.line(recall[some], precision[some], colour)
        legend.append((_short(name, 24), colour))
    return axes.svg("Precision and recall", legend)


def lines(named: Sequence[tuple[str, np.ndarray, np.ndarray]], x_title: str, y_title: str) -> str:
    """Lines through points, from 0 to 1 or as high as they go: the name of each, where it stands, how high it is."""
    across, up = (np.concatenate([np.asarray(one[at], np.float64) for one in named]) for at in (1, 2))
    axes, legend = Axes((across.min(), across.max()), (0, max(1, up.max())), x_title, y_title), []
    for place, (name, x, y) in enumerate(named):
        colour = COLOURS[place % len(COLOURS)]
        some = np.unique(np.linspace(0, len(x) - 1, min(len(x), 300)).astype(int))
        axes.line(np.asarray(x)[some], np.asarray(y)[some], colour)
        legend.append((_short(name, 24), colour))
    return axes.svg(f"{y_title} over {x_title}", legend)


def histogram(groups: Sequence[tuple[str, np.ndarray]], x_title: str, *, bins: int = 20, within=None) -> str:
    """How often values occur, the groups stacked upon one another: a name and its values each."""
    values = np.concatenate([np.asarray(one, np.float64) for _, one in groups])
    edges = np.linspace(*_wide(within or (values.min(), values.max())), bins + 1)
    counts = [np.histogram(one, edges)[0] for _, one in groups]
    axes = Axes((edges[0], edges[-1]), (0, max(int(np.sum(counts, axis=0).max()), 1)), x_title, "examples")
    below = np.zeros(bins)
    for place, ((name, _), count) in enumerate(zip(groups, counts, strict=True)):
        for left, right, low, number in zip(edges, edges[1:], below, count, strict=False):
            if number:
                title = f"{name}, {left:.2f} to {right:.2f}: {number}"
                axes.bar(left, right, low, low + number, COLOURS[place], title)
        below = below + count
    return axes.svg(f"Histogram: {x_title}", [(name, COLOURS[place]) for place, (name, _) in enumerate(groups)])


def scatter(expected: np.ndarray, answered: np.ndarray, *, most: int = 2000, same_scale: bool = True) -> str:
    """Answers over right answers, at most so many of them, evenly taken.

    Args:
        expected: the right numbers ``[N]``.
        answered: those given ``[N]``.
        most: points drawn.
        same_scale: whether both mean the same, so that answers belong on the diagonal.
    """
    some = np.unique(np.linspace(0, len(expected) - 1, min(len(expected), most)).astype(int))
    both = (min(expected.min(), answered.min()), max(expected.max(), answered.max()))
    across, up = (both, both) if same_scale else ((expected.min(), expected.max()), (answered.min(), answered.max()))
    axes = Axes(across, up, "right", "answered")
    axes.dots(expected[some], answered[some], "var(--one)")
    if same_scale:
        axes.line(axes.x, axes.x, "var(--muted)", 'stroke-dasharray="4 4"')
    return axes.svg("Answers over right answers")


def _drawing(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _short(text: str, length: int = 14) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _wide(ends) -> tuple[float, float]:
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(value) * step + 0.0 for value in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
