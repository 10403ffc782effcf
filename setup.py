"""Copies the rooms that the library reads into the wheel; all else about the package stands in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOMS = ("models", "configs", "serving")  # as in kzoo/resources.py, which finds them in a checkout and in a wheel


class BuildWithRooms(build_py):
    """The usual build, then ``models/``, ``configs/`` and ``serving/`` as package data in ``kzoo/_resources/``."""

    def run(self):
        """Builds; an editable install needs no copies, for it sees the checkout."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "kzoo", "_resources")
        shutil.rmtree(target, ignore_errors=True)
        for room in ROOMS:
            shutil.copytree(room, target / room, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.pyc"))


setup(cmdclass={"build_py": BuildWithRooms})
