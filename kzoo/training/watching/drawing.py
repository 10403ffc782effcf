"""Confusion matrices as pictures, for TensorBoard's Images tab: pixels, for it shows no SVG."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# C classes; all lengths in points, of SCALE pixels each

SCALE = 3  # TensorBoard enlarges small pictures coarsely

PAPER, INK, PALE = (255, 255, 255), (33, 33, 33), (110, 110, 110)
RIGHT, WRONG = (38, 99, 176), (200, 80, 32)
LONGEST = 18  # characters of a name
CELL_HEIGHT = 34


def confusion(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A confusion matrix ``[C, C]``, right ones by those answered, as uint8 ``[H, W, 3]``; shades: shares of a row."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    colours = [[RIGHT if row == column else WRONG for column in range(len(labels))] for row in range(len(labels))]
    return _table(matrix, shares, colours, labels, labels, "answered (columns), right (rows)")


def of_labels(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Several labels, each judged by itself, ``[C, 2, 2]``: how often each was given rightly, wrongly, and missed."""
    cells = counts.reshape(len(labels), 4)[:, [3, 2, 1, 0]]
    whole = np.stack([cells[:, :2].sum(1)] * 2 + [cells[:, 2:].sum(1)] * 2, 1)
    colours = [[RIGHT, WRONG, WRONG, RIGHT]] * len(labels)
    columns = ["found", "missed", "given wrongly", "rightly not given"]
    return _table(
        cells, cells / np.maximum(whole, 1), colours, labels, columns, "shades: shares of texts with, without"
    )


def _table(numbers, shares, colours, rows: Sequence[str], columns: Sequence[str], below: str) -> np.ndarray:
    font, small = ImageFont.load_default(15 * SCALE), ImageFont.load_default(13 * SCALE)
    rows = [_name(name, place) for place, name in enumerate(rows)]
    columns = [_name(name, place) for place, name in enumerate(columns)]
    left = 20 + _width(font, rows)
    width = max(64, 16 + _width(font, columns))
    top, height = 34, 34 + CELL_HEIGHT * len(rows) + 30
    whole = max(left + width * len(columns) + 10, _width(small, [below]) + 20)
    image = Image.new("RGB", (whole * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(image)

    def write(x, y, text, ink, anchor, used=font):
        draw.text((x * SCALE, y * SCALE), text, fill=ink, font=used, anchor=anchor)

    for column, name in enumerate(columns):
        write(left + width * (column + 0.5), top - 8, name, INK, "ms")
    for row, name in enumerate(rows):
        y = top + CELL_HEIGHT * row
        write(left - 8, y + CELL_HEIGHT / 2, name, INK, "rm")
        for column in range(len(columns)):
            x, share = left + width * column, 0.05 + 0.9 * float(shares[row, column])
            paint = tuple(round(255 + (tone - 255) * share) for tone in colours[row][column])
            corners = (x, y, x + width - 2, y + CELL_HEIGHT - 2)
            draw.rectangle(tuple(corner * SCALE for corner in corners), fill=paint)
            ink = PAPER if share > 0.55 else INK
            write(x + width / 2 - 1, y + CELL_HEIGHT / 2 - 1, f"{round(numbers[row, column]):,}", ink, "mm")
    write(10, height - 14, below, PALE, "lm", small)
    return np.asarray(image)


def _width(font, names: Sequence[str]) -> int:
    """Of the longest, in points."""
    return round(max(font.getlength(name) for name in names) / SCALE)


def _name(name: str, place: int) -> str:
    """A name as the font has it; in another script than Latin, its number."""
    if any(ord(character) > 0x24F for character in name):
        return f"class {place + 1}"
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
