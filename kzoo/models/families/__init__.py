"""The published families: one file each, with its config, its builder and its rules."""

import importlib
from types import ModuleType

from kzoo.errors import UserError

FAMILIES = ("bert", "gpt2")  # names of modules here, and the ``model_type`` of config.json


def family(model_type: str) -> ModuleType:
    """The module of a family, by the ``model_type`` of its ``config.json``.

    Raises:
        UserError: kzoo lacks the family.
    """
    if model_type not in FAMILIES:
        raise UserError(f"kzoo has no family {model_type!r}; it has {', '.join(FAMILIES)}.")
    return importlib.import_module(f"kzoo.models.families.{model_type}")
