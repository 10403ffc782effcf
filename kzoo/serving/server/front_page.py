"""A page at ``/`` for a person: try the models, and see which are served.

The genuine server answers 404 there; everything that the page shows and sends goes through the API that both have, and
it loads nothing from elsewhere. One document: the files ``front_page_*`` beside this one are put into it.
"""

from __future__ import annotations

import functools
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.errors import UserError
from kzoo.serving import saved_model
from kzoo.serving.server.errors import StatusError
from kzoo.serving.server.registry import Registry, State
from kzoo.serving.server.signatures import DEFAULT, Signature
from kzoo.serving.tensors import STRING

_SCRIPTS = ("front_page_answers.js", "front_page_form.js")
_FOLDER = Path(__file__).resolve().parent


def front_page(registry: Registry) -> bytes:
    """The page, with the models as they are now."""
    models = [_model(registry, name) for name in registry.models()]
    data = json.dumps(models).replace("<", "\\u003c")  # text of a model must not end the script
    names = ", ".join(html.escape(model["name"]) for model in models) or "none"
    before, between, after = _parts()
    return f"{before}{names}{between}{data}{after}".encode()


@functools.cache
def _parts() -> tuple[str, str, str]:
    """The document before the models' names, between them and their data, and behind."""
    page = _file("front_page.html").replace("/* style */", _file("front_page.css"))
    page = page.replace("/* scripts */", "\n".join(map(_file, _SCRIPTS)))
    before, _, rest = page.partition("%NAMES%")
    between, _, after = rest.partition('"%MODELS%"')
    return before, between, after


def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _model(registry: Registry, name: str) -> dict[str, Any]:
    try:
        states = registry.status(name)
    except StatusError:
        states = []
    return {
        "name": name,
        "labels": registry.labels(name),
        "versions": [
            {
                "version": number,
                "state": state.name,
                "error": error.message if error else "",
                **(_offered(registry, name, number) if state is State.AVAILABLE else {"task": "", "signatures": {}}),
            }
            for number, state, error in states
        ],
    }


def _offered(registry: Registry, name: str, version: int) -> dict[str, Any]:
    """A version's task, where kzoo exported it, and its signatures, the plain one first."""
    try:
        found = registry.find(name, version).signatures
    except StatusError:
        return {"task": "", "signatures": {}}
    described = _description(registry.path(name, version))
    examples = described.get("examples", {})
    in_order = sorted((key for key, value in found.items() if value.inputs), key=lambda key: (key != DEFAULT, key))
    return {
        "task": described.get("task", ""),
        "signatures": {key: _signature(found[key], examples.get(key, {})) for key in in_order},
    }


def _description(path: str) -> dict[str, Any]:
    try:
        return saved_model.description(path) or {}
    except (OSError, UserError):  # what stands beside the graph is for the page alone
        return {}


def _signature(signature: Signature, example: dict[str, Any]) -> dict[str, Any]:
    """Inputs with type, shape, default and example; outputs with type and shape; the API that takes its requests."""
    given = {alias: rows[0] for alias, rows in example.get("inputs", {}).items() if rows}
    inputs, outputs = signature.definition.inputs, signature.definition.outputs
    api = "predict"
    if list(signature.inputs) == ["inputs"] and signature.inputs["inputs"] is STRING:
        api = {("classes", "scores"): "classify", ("outputs",): "regress"}.get(tuple(sorted(outputs)), api)
    return {
        "api": api,
        "features": sorted(given) or ["text"],
        "example": given,
        "inputs": {
            alias: {
                "dtype": dtype.name,
                "shape": _shape(inputs[alias]),
                **({"default": _plain(signature.defaults[alias])} if alias in signature.defaults else {}),
            }
            for alias, dtype in signature.inputs.items()
        },
        "outputs": {alias: _shape(outputs[alias]) for alias in signature.outputs},
        "refusal": signature.refusal.message if signature.refusal else "",
    }


def _shape(info: Any) -> list[int] | None:
    return None if info.tensor_shape.unknown_rank else [dimension.size for dimension in info.tensor_shape.dim]


def _plain(default: np.ndarray) -> Any:
    """The default of one row."""
    if not default.size:
        return ""
    value = default.reshape(-1)[:1].tolist()[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
