"""One loaded version of a model: what requests are run against."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from kzoo.serving import stubs
from kzoo.serving.server.batch_scheduler import BatchingOptions, BatchScheduler
from kzoo.serving.server.batching import BatchingRunner, Runner
from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.session import SavedModelSession
from kzoo.serving.server.signatures import DEFAULT, Signature, read


class Servable:
    """A version's signatures and the session that runs them; closed once the last request is done."""

    def __init__(
        self,
        name: str,
        version: int,
        session: SavedModelSession,
        *,
        metrics: Metrics,
        batching: tuple[BatchScheduler, BatchingOptions] | None = None,
        xla: bool = False,
    ):
        self.name = name
        self.version = version
        self.metrics = metrics
        self.definitions = session.signature_definitions
        refusal = None if xla else StatusError(Code.INTERNAL, "XLA compilation disabled")
        self.signatures = {
            name: read(name, definition, refusal=refusal if name in session.compiled else None)
            for name, definition in session.signature_definitions.items()
        }
        self._session = session
        self._runner: Runner = session
        self._batcher: BatchingRunner | None = None
        if batching is not None:
            self._runner = self._batcher = BatchingRunner(session, *batching, metrics)
        self._in_flight = 0
        self._retired = False
        self._idle = threading.Condition()
        self._metadata: bytes | None = None

    def acquire(self) -> bool:
        """Keep the session open for one request; False once the version is retired."""
        with self._idle:
            if not self._retired:
                self._in_flight += 1
            return not self._retired

    def release(self) -> None:
        """The request is done."""
        with self._idle:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Take no more requests, let the running ones finish, and free the session.

        Past ``timeout`` seconds the session is left to them (the server is going down and will not wait longer).
        """
        with self._idle:
            self._retired = True
            if not self._idle.wait_for(lambda: self._in_flight == 0, timeout):
                return
        if self._batcher is not None:
            self._batcher.close()
        self._session.close()

    def run(
        self,
        feeds: dict[str, np.ndarray],
        fetches: Sequence[str],
        *,
        api: str,
        timeout: float | None,
    ) -> list[np.ndarray]:
        """Run the graph (in a batch, where batching is on), by tensor name."""
        start = time.perf_counter()
        outputs = self._runner.run(feeds, fetches, timeout)
        self.metrics.runtime_latency(self.name, api, time.perf_counter() - start)
        return outputs

    def metadata(self) -> bytes:
        """The signatures as a serialized ``SignatureDefMap``."""
        if self._metadata is None:
            signature_map = stubs.load("get_model_metadata_pb2").SignatureDefMap()
            for name, definition in self.definitions.items():
                signature_map.signature_def[name].CopyFrom(definition)
            self._metadata = signature_map.SerializeToString()
        return self._metadata


def predict(
    servable: Servable,
    signature: Signature,
    inputs: dict[str, np.ndarray],
    *,
    output_filter: Sequence[str] = (),
    timeout: float | None = None,
) -> dict[str, np.ndarray]:
    """Named outputs for named inputs, those with a default left out at will.

    Raises ``StatusError`` with the genuine server's text for an input that is missing, unknown or of the wrong type.
    """
    feeds = signature.feed(_complete(signature, inputs))
    aliases = _chosen(signature, output_filter) if output_filter else list(signature.outputs)
    fetches = [signature.outputs[alias] for alias in aliases]
    if signature.refusal is not None:
        raise signature.refusal
    outputs = servable.run(feeds, fetches, api="Predict", timeout=timeout)
    return dict(zip(aliases, outputs, strict=True))


def _complete(signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if inputs.keys() == signature.tensors.keys():
        return inputs
    wanted, sent = set(signature.tensors), set(inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_listed(sent)}}}) != "
            f"len({{{_listed(wanted)}}}). Sent extra: {{{_listed(sent - wanted)}}}. Missing but required: "
            f"{{{_listed(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent):
        if alias not in signature.defaults:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {signature.tensors[alias]}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {{{_listed(sent)}}}, or default input "
                f"alias set: {_listed(set(signature.defaults))}"
            )
    if sent - wanted:
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {_listed(sent & wanted)}, request input: "
            f"{_listed(sent)}"
        )
    return {alias: inputs[alias] if alias in inputs else signature.defaults[alias] for alias in signature.tensors}


def _chosen(signature: Signature, output_filter: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_listed(set(signature.outputs))}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def _listed(names: set[str]) -> str:
    return ",".join(sorted(names))


def find_signature(servable: Servable, name: str) -> Signature | None:
    """The signature of that name; no name means the default one."""
    return servable.signatures.get(name or DEFAULT)
