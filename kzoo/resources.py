"""Finds what the library reads from the rooms beside it: the zoo's presets, configs, bundle templates.

In a checkout these are the folders next to ``kzoo/`` (``models/``, ``configs/``, ``serving/``). In an installed wheel
they travel as package data under ``kzoo/_resources/``, put there by the build step in ``setup.py``.
"""

from pathlib import Path

from kzoo.errors import UserError

ROOMS = ("models", "configs", "serving")

_package = Path(__file__).resolve().parent


def folder(room: str) -> Path:
    """The folder of a room: ``"models"``, ``"configs"`` or ``"serving"``.

    The checkout's sibling folder when ``setup.cfg`` lies beside ``kzoo/``, else the copy inside the installed package.
    """
    if room not in ROOMS:
        raise ValueError(f"room must be one of {', '.join(ROOMS)}. Received room={room!r}.")
    checkout = _package.parent
    if (checkout / "setup.cfg").is_file() and (checkout / room).is_dir():
        return checkout / room
    packaged = _package / "_resources" / room
    if packaged.is_dir():
        return packaged
    raise UserError(f"This installation of kzoo lacks its folder {room}/ (looked in {packaged}). Reinstall kzoo.")


def find(room: str, *parts: str) -> Path:
    """One file of a room, as in ``find("configs", "data", "movie-reviews.yaml")``. UserError when it is not there."""
    path = folder(room).joinpath(*parts)
    if not path.exists():
        raise UserError(f"kzoo has no {room}/{'/'.join(parts)} (looked in {path.parent}).")
    return path
