"""Classify, Regress and MultiInference: signatures that take serialized ``tf.Example`` under one input ``inputs``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.servable import Servable, find_signature
from kzoo.serving.server.signatures import DEFAULT, Signature
from kzoo.serving.tensors import dtype_of

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@dataclass(frozen=True, slots=True)
class Classification:
    """For each example its classes and scores, [B, C] each; a signature may give only one of the two."""

    classes: np.ndarray | None
    scores: np.ndarray | None


def serialized(examples: Any) -> np.ndarray:
    """The examples of an ``Input`` message as [B] serialized examples, each with the common context merged in."""
    kind = examples.WhichOneof("kind")
    if kind == "example_list":
        found = [example.SerializeToString() for example in examples.example_list.examples]
    elif kind == "example_list_with_context":
        # Two messages after one another parse as one, merged: the genuine server does it so.
        context = examples.example_list_with_context.context.SerializeToString()
        found = [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
    else:
        found = []
    if not found:
        raise invalid("Input is empty.")
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def _signature(servable: Servable, name: str) -> Signature:
    signature = find_signature(servable, name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT}")
    return signature


def _runnable(signature: Signature) -> Signature:
    if signature.refusal is not None:
        raise signature.refusal
    return signature


def classify(servable: Servable, name: str, examples: Any, timeout: float | None) -> Classification:
    """Classes and scores by a classification signature."""
    signature = _signature(servable, name)
    aliases = _classification_outputs(signature)
    batch = serialized(examples)
    fetches = [_runnable(signature).outputs[alias] for alias in aliases]
    outputs = servable.run({signature.tensors["inputs"]: batch}, fetches, api="Classify", timeout=timeout)
    return _classification(dict(zip(aliases, outputs, strict=True)), len(batch))


def regress(servable: Servable, name: str, examples: Any, timeout: float | None) -> np.ndarray:
    """One number an example, [B], by a regression signature."""
    signature = _signature(servable, name)
    _check_regression(signature)
    batch = serialized(examples)
    fetches = [_runnable(signature).outputs["outputs"]]
    (output,) = servable.run({signature.tensors["inputs"]: batch}, fetches, api="Regress", timeout=timeout)
    return _regression(output, len(batch))


def multi_inference(
    servable: Servable, tasks: Sequence[Any], examples: Any, timeout: float | None
) -> list[Classification | np.ndarray]:
    """Several signatures of one model over the same examples, in one run."""
    seen: set[str] = set()
    wanted: list[tuple[Signature, list[str]]] = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = find_signature(servable, name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            aliases = _classification_outputs(signature)
        elif task.method_name == REGRESS:
            _check_regression(signature)
            aliases = ["outputs"]
        else:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        wanted.append((_runnable(signature), aliases))
    batch = serialized(examples)
    feeds = {signature.tensors["inputs"]: batch for signature, _ in wanted}
    fetches = sorted({signature.outputs[alias] for signature, aliases in wanted for alias in aliases})
    arrays = dict(zip(fetches, servable.run(feeds, fetches, api="MultiInference", timeout=timeout), strict=True))
    servable.metrics.examples(servable.name, len(batch))
    results: list[Classification | np.ndarray] = []
    for task, (signature, aliases) in zip(tasks, wanted, strict=True):
        named = {alias: arrays[signature.outputs[alias]] for alias in aliases}
        if task.method_name == CLASSIFY:
            results.append(_classification(named, len(batch)))
        else:
            results.append(_regression(named["outputs"], len(batch)))
    return results


def _classification_outputs(signature: Signature) -> list[str]:
    if len(signature.tensors) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.tensors:
        raise invalid(f"No classification inputs found in SignatureDef: {signature.definition}")
    aliases: list[str] = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not aliases:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.definition}"
        )
    return aliases


def _check_regression(signature: Signature) -> None:
    if len(signature.tensors) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.tensors:
        raise invalid(f"No regression inputs found in SignatureDef: {signature.definition}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature.definition}")


def _dimensions(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _classification(arrays: dict[str, np.ndarray], count: int) -> Classification:
    classes, scores = arrays.get("classes"), arrays.get("scores")
    for name, array, dtype, proto_name in (
        ("classes", classes, np.dtype(object), "DT_STRING"),
        ("scores", scores, np.dtype(np.float32), "DT_FLOAT"),
    ):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_dimensions(array)}")
        if array.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of {proto_name}. Got: {_proto_name(array)}")
        if len(array) != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    return Classification(classes, scores)


def _regression(array: np.ndarray, count: int) -> np.ndarray:
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_dimensions(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_proto_name(array)}")
    return array.reshape(-1)


def _proto_name(array: np.ndarray) -> str:
    return dtype_of(array).proto_name
