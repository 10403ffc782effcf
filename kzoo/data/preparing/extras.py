"""Libraries that only data preparation needs: the extra ``prepare``."""

import importlib
from types import ModuleType

from kzoo.errors import UserError


def needed(module: str, purpose: str) -> ModuleType:
    """Imports a library of the extra. UserError when it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = {"stdnum": "python-stdnum"}.get(module.partition(".")[0], module.partition(".")[0])
        raise UserError(
            f"{purpose} needs the package {package}, which is not installed: pip install 'kzoo[prepare]'."
        ) from error
