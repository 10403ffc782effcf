"""The part of a bundle's README that asks the models: lines to paste, made from each model's own example."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

REST = "http://127.0.0.1:8501"
_LONGEST = 8  # a vector of more numbers is shown by its first three
_LONGEST_TEXT = 200  # characters of an answer that are shown


def status(names: list[str]) -> str:
    """A line of curl for each model's status."""
    return "\n".join(f"curl -s {REST}/v1/models/{name}" for name in names)


def table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of the models: name to description, as ``saved_model.description`` gives it."""
    rows = [
        f"| `{name}` | {one.get('task', 'not made by kzoo')} | {', '.join(f'`{key}`' for key in one['signatures'])} |"
        for name, one in models.items()
    ]
    return "\n".join(["| model | task | signatures |", "| --- | --- | --- |", *rows])


def questions(name: str, description: Mapping[str, Any]) -> str:
    """A section for one model: each signature asked over REST, with the answer the export gave, and once over gRPC."""
    parts = [f"\n### {name}\n"]
    for signature, entry in description["signatures"].items():
        example = description.get("examples", {}).get(signature)
        inputs = example["inputs"] if example else _made_up(entry["inputs"])
        method = example.get("method", "predict") if example else "predict"
        parts.append(_fenced("sh", ask_by_curl(name, signature, inputs, method)))
        if example:
            parts.append(_fenced("text", json.dumps(_reply(example["outputs"], method), ensure_ascii=False)))
        if entry["defaults"]:
            knobs = ", ".join(f"`{key}` ({value[0]})" for key, value in entry["defaults"].items())
            parts.append(f"Over gRPC these may be left out of a request of one row: {knobs}.\n")
    text = _first_text(description)
    if text is not None:
        parts.append("Over gRPC (needs `grpcio` and `tensorflow-serving-api`):\n")
        parts.append(_fenced("sh", f"python clients/ask_grpc.py {name} {shlex.quote(text)}"))
    return "\n".join(parts)


def ask_by_curl(name: str, signature: str, inputs: Mapping[str, list], method: str = "predict") -> str:
    """A line of curl that asks for one answer a row, by the API ``predict``, ``classify`` or ``regress``."""
    rows = zip(*inputs.values(), strict=True)
    body: dict[str, Any] = {} if signature == "serving_default" else {"signature_name": signature}
    body["instances" if method == "predict" else "examples"] = [dict(zip(inputs, row, strict=True)) for row in rows]
    return f"curl -s {REST}/v1/models/{name}:{method} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def _reply(outputs: Mapping[str, list], method: str) -> dict[str, list]:
    """The reply as the REST API words it: one output stands by itself, several by their names."""
    if method == "regress":
        return {"results": outputs["outputs"]}
    if method == "classify":  # pairs of class and score
        texts = zip(outputs["classes"], outputs["scores"], strict=True)
        return {"results": [[list(pair) for pair in zip(*one, strict=True)] for one in texts]}
    rows = list(zip(*outputs.values(), strict=True))
    if len(outputs) == 1:
        return {"predictions": [_shown(row[0]) for row in rows]}
    return {"predictions": [{key: _shown(value) for key, value in zip(outputs, row, strict=True)} for row in rows]}


def _shown(value: Any) -> Any:
    """The value itself, or the beginning of a long vector or text."""
    if isinstance(value, list):
        return [*value[:3], "..."] if len(value) > _LONGEST else value
    return f"{value[:_LONGEST_TEXT]}..." if isinstance(value, str) and len(value) > _LONGEST_TEXT else value


def _made_up(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, list]:
    """One row for a signature that kzoo did not write: a text, or zeros."""

    def value(dtype: str, shape: list | None) -> Any:
        if shape:
            return [value(dtype, shape[1:])] * (shape[0] or 1)
        return "text" if dtype == "string" else False if dtype == "bool" else 0.0 if "float" in dtype else 0

    return {key: [value(entry["dtype"], (entry["shape"] or [None])[1:])] for key, entry in inputs.items()}


def _first_text(description: Mapping[str, Any]) -> str | None:
    """The text of the plain example; None where it has none, or several, which the example client cannot send."""
    example = description.get("examples", {}).get("serving_default", {"inputs": {}})
    texts = [values[0] for values in example["inputs"].values() if isinstance(values[0], str)]
    return texts[0] if len(texts) == 1 else None


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"
