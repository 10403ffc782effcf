"""The published families: one file each, with its config, its builder and its rules.

A family's module says:

    MODEL_TYPE      the ``model_type`` of its ``config.json``
    ARCHITECTURE    the class of the bare backbone in ``transformers``
    PREFIX          what precedes the backbone's tensor names in a directory with a head
    RULES           published tensors and the weights they fill (``kzoo.models.rules``)
    RENAMED         endings of names in older files, and what they are now
    UNUSED          beginnings of names of tensors that kzoo leaves out
    HEADS           a ``Head`` for each task that ``transformers`` has a class for
    config          from the keys of ``config.json`` to the figures
    publish         from the figures to the keys
    build           from the figures and a dtype policy to the backbone
"""

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
