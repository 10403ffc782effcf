"""What a tuning tried, as a drawing: how many requests each setting answered, and how long the slowest took."""

from __future__ import annotations

from kzoo.metrics import plots
from kzoo.serving.tuning import Tuned

_STYLE = (
    "<style>svg{--ink:#1d2530;--muted:#66717f;--grid:#e3e7ec;--one:#2b6cb0;--two:#d2691e;--three:#2f855a;--four:#97266d;"
    "--five:#b7950b;--six:#5a5f6b;background:#fff}text{fill:#66717f;font:11px system-ui,sans-serif}"
    ".grid{stroke:#e3e7ec}</style>"
)


def draw(tuned: Tuned) -> str:
    """An SVG file: a dot a setting, one colour for each number of threads, the proposed one ringed."""
    trials = tuned.trials
    most = max(one.rate for one in trials), max(one.p99 for one in trials)
    axes = plots.Axes(
        (0, 1.05 * most[0]),
        (0, 1.1 * most[1]),
        f"requests a second of {tuned.clients} clients at once",
        "99th percentile, ms",
    )
    names = []
    for place, threads in enumerate(sorted({one.setting.threads for one in trials})):
        colour = plots.COLOURS[place % len(plots.COLOURS)]
        some = [one for one in trials if one.setting.threads == threads]
        axes.dots([one.rate for one in some], [one.p99 for one in some], colour)
        names.append((f"{threads} batch thread{'s' * (threads > 1)}", colour))
    if tuned.limit is not None and tuned.limit <= 1.1 * most[1]:
        axes.line(axes.x, (tuned.limit, tuned.limit), "var(--muted)", 'stroke-dasharray="4 4"')
    start = trials[0]
    axes.ring(start.rate, start.p99, "var(--muted)", "as it was")
    if tuned.best is not None and tuned.best != start:
        axes.ring(tuned.best.rate, tuned.best.p99, "var(--two)", "proposed")
    drawing = axes.svg(f"Settings of batching tried for {tuned.model}", names)
    opening, _, rest = drawing.partition(">")
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{_STYLE}{rest}\n'
