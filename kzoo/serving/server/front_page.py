"""A page at ``/`` for a person: the models, their versions and signatures, and a box to try one.

The genuine server answers 404 there; everything the page shows and sends goes through the API that both have.
"""

from __future__ import annotations

import html
import json
from typing import Any

from kzoo.serving.server.errors import StatusError
from kzoo.serving.server.registry import Registry, State
from kzoo.serving.server.signatures import DEFAULT, Signature

_EXAMPLES: dict[str, Any] = {"string": "some text", "bool": True}


def front_page(registry: Registry) -> bytes:
    """The page, with the models as they are now."""
    models = [_model(registry, name) for name in registry.models()]
    data = json.dumps(models).replace("<", "\\u003c")  # text of a model must not end the script
    names = ", ".join(html.escape(model["name"]) for model in models) or "none"
    return _PAGE.replace("%NAMES%", names).replace("%MODELS%", data).encode()


def _model(registry: Registry, name: str) -> dict[str, Any]:
    try:
        states = registry.status(name)
    except StatusError:
        states = []
    labels = registry.labels(name)
    return {
        "name": name,
        "labels": labels,
        "versions": [
            {
                "version": number,
                "state": state.name,
                "error": error.message if error else "",
                "signatures": _signatures(registry, name, number) if state is State.AVAILABLE else {},
            }
            for number, state, error in states
        ],
    }


def _signatures(registry: Registry, name: str, version: int) -> dict[str, Any]:
    try:
        found = registry.find(name, version).signatures
    except StatusError:
        return {}
    in_order = sorted((key for key, value in found.items() if value.inputs), key=lambda key: (key != DEFAULT, key))
    return {key: _signature(found[key]) for key in in_order}


def _signature(signature: Signature) -> dict[str, Any]:
    shapes = {
        alias: [dimension.size for dimension in info.tensor_shape.dim]
        for alias, info in signature.definition.inputs.items()
    }
    return {
        "inputs": {alias: f"{dtype.name}{_shape_text(shapes[alias])}" for alias, dtype in signature.inputs.items()},
        "outputs": list(signature.outputs),
        "example": {alias: _example(dtype.name, shapes[alias][1:]) for alias, dtype in signature.inputs.items()},
    }


def _shape_text(shape: list[int]) -> str:
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _example(dtype: str, shape: list[int]) -> Any:
    if shape:
        return [_example(dtype, shape[1:])] * max(1, min(shape[0], 8))
    return _EXAMPLES.get(dtype, 1.0 if dtype in ("float", "double") else 1)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kzoo: %NAMES%</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: #8881; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem; padding: 0 1rem; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
  label { display: block; margin-top: .8rem; font-weight: 600; }
  select, textarea, button { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem; }
  textarea, pre, code { font-family: ui-monospace, monospace; font-size: .9rem; }
  textarea { min-height: 9rem; }
  button { width: auto; margin-top: .8rem; padding: .4rem 1.4rem; cursor: pointer; }
  pre { background: var(--soft); padding: .8rem; overflow: auto; white-space: pre-wrap; word-break: break-word; }
  .AVAILABLE { color: #2a7d2a; } .END { color: #b3261e; }
</style>
</head>
<body>
<h1>Models served here</h1>
<table>
  <thead><tr><th>Model</th><th>Version</th><th>State</th><th>Signatures</th></tr></thead>
  <tbody id="models"></tbody>
</table>
<h2>Try one</h2>
<form id="form">
  <label for="model">Model</label><select id="model"></select>
  <label for="signature">Signature</label><select id="signature"></select>
  <label for="body">Request</label><textarea id="body" spellcheck="false"></textarea>
  <button>Send</button>
</form>
<label>The same from a shell</label><pre id="curl"></pre>
<label>Reply</label><pre id="reply" aria-live="polite">Nothing sent yet.</pre>
<script>
"use strict";
const models = %MODELS%;
const $ = id => document.getElementById(id);
const cell = (row, text, kind) => {
  const td = row.insertCell(); td.textContent = text; if (kind) td.className = kind; return td;
};
const targets = [];
for (const model of models) {
  const labels = version => Object.keys(model.labels).filter(label => model.labels[label] === version);
  for (const entry of model.versions) {
    const row = $("models").insertRow();
    cell(row, model.name);
    cell(row, [entry.version, ...labels(entry.version)].join(", "));
    cell(row, entry.error ? `${entry.state}: ${entry.error}` : entry.state, entry.state);
    cell(row, Object.entries(entry.signatures).map(([name, signature]) =>
      `${name}(${Object.entries(signature.inputs).map(([alias, type]) => `${alias}: ${type}`).join(", ")})`
      + ` \\u2192 ${signature.outputs.join(", ")}`).join("\\n")).style.whiteSpace = "pre-line";
    if (entry.state === "AVAILABLE") targets.push({model: model.name, ...entry});
  }
}
const path = () => {
  const target = targets[$("model").value];
  return `/v1/models/${encodeURIComponent(target.model)}/versions/${target.version}:predict`;
};
const quoted = text => "'" + text.replaceAll("'", "'\\\\''") + "'";
const showCurl = () => {
  if (targets.length) $("curl").textContent = `curl -d ${quoted($("body").value)} ${quoted(location.origin + path())}`;
};
const showBody = () => {
  const name = $("signature").value, signature = targets[$("model").value].signatures[name];
  const values = Object.values(signature.example);
  const instance = values.length === 1 ? values[0] : signature.example;
  $("body").value = JSON.stringify({signature_name: name, instances: [instance]}, null, 2);
  showCurl();
};
const showSignatures = () => {
  $("signature").replaceChildren(...Object.keys(targets[$("model").value].signatures).map(name => new Option(name)));
  showBody();
};
targets.forEach((target, index) => $("model").add(new Option(`${target.model}, version ${target.version}`, index)));
if (targets.length) showSignatures();
$("model").onchange = showSignatures;
$("signature").onchange = showBody;
$("body").oninput = showCurl;
$("form").onsubmit = async event => {
  event.preventDefault();
  const start = performance.now();
  try {
    const response = await fetch(path(), {method: "POST", body: $("body").value});
    const text = await response.text();
    $("reply").textContent = `${response.status} in ${Math.round(performance.now() - start)} ms\\n${text}`;
  } catch (error) {
    $("reply").textContent = `No reply: ${error.message}`;
  }
};
</script>
</body>
</html>
"""
