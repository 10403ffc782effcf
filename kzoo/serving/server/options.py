"""How a server runs, beside what it serves: everything with a default."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the genuine server has a flag for, in seconds and bytes; defaults are its own unless noted.

    Attributes:
        allow_version_labels_for_unavailable_models: labels may point at versions that are not loaded (yet).
        rest_timeout: seconds a REST request may take once it has come; None for no limit.
        max_request_bytes: the largest request, also after unzipping (the genuine server: no limit).
        max_concurrent_requests: requests over each of REST and gRPC that are at work or wait for a thread; further ones
            are refused at once, REST with 503 and gRPC with RESOURCE_EXHAUSTED (the genuine server: no limit).
        receive_timeout: seconds in which the head of a REST request must have come, and something more of its body each
            time (the genuine server: no limit).
        threads: requests at work at once over each of REST and gRPC; None: four a core and at least 32, more where
            batches must fill (the genuine server: four a core).
        poll_seconds: how often to look for new and deleted versions; 0 for never after the start.
        config_poll_seconds: how often to read the config file again; 0 for never.
        max_load_retries: attempts to load a version after the first (the genuine server: 5, which hides bad models).
        load_retry_seconds: the pause between them.
        warm_up: run the warm-up requests that models bring along.
        warm_up_iterations: how often each.
        cors: send CORS headers with REST replies.
        per_model_batching: batch each model by the ``batching_params.pbtxt`` in its version folder, others not at all.
        tensor_content: gRPC replies carry tensors as raw bytes.
        xla: run functions that must be compiled; without, requests that meet one fail, as they would there.
        tags: the tags of the graph to load from a SavedModel.
        intra_op_threads, inter_op_threads: threads of TensorFlow's pools; 0 leaves the choice to it.
        gpu_memory_fraction: of each GPU, taken at the start; 0 takes it as needed.
        health_service: answer gRPC health checks.
        front_page: a page at ``/`` that lists the models (the genuine server: none).
        drain_seconds: how long running requests may take to finish when the server stops.
    """

    allow_version_labels_for_unavailable_models: bool = False
    rest_timeout: float | None = 30.0
    max_request_bytes: int = 256 << 20
    max_concurrent_requests: int = 1000
    receive_timeout: float = 30.0
    threads: int | None = None
    poll_seconds: float = 1.0
    config_poll_seconds: float = 0.0
    max_load_retries: int = 0
    load_retry_seconds: float = 60.0
    warm_up: bool = True
    warm_up_iterations: int = 1
    cors: bool = False
    per_model_batching: bool = False
    tensor_content: bool = False
    xla: bool = False
    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    gpu_memory_fraction: float = 0.0
    health_service: bool = False
    front_page: bool = True
    drain_seconds: float = 10.0

    def request_threads(self, largest_batch: int) -> int:
        """Threads for requests: enough that a batch can fill, since each request waits in its thread."""
        if self.threads is not None:
            return self.threads
        return max(32, 4 * (os.cpu_count() or 1), min(256, 2 * largest_batch))
