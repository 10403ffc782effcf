"""From a version's folder to a servable that has answered its warm-up requests."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import protos
from kzoo.serving.server import warmup
from kzoo.serving.server.batch_scheduler import BatchingOptions, BatchScheduler
from kzoo.serving.server.errors import invalid
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.options import Options
from kzoo.serving.server.servable import Servable
from kzoo.serving.server.session import SavedModelSession

logger = logging.getLogger("kzoo.serving")


class Loader:
    """Loads versions, all by the same options."""

    def __init__(
        self,
        options: Options,
        metrics: Metrics,
        *,
        scheduler: BatchScheduler | None = None,
        batching: BatchingOptions | None = None,
    ):
        self._options = options
        self._metrics = metrics
        self._scheduler = scheduler
        self._batching = batching

    def __call__(self, name: str, version: int, path: str) -> Servable:
        """The servable; raises ``StatusError`` for a model that cannot be loaded or fails a warm-up request."""
        start = time.perf_counter()
        try:
            batching = self._batching_of(path)
            session = SavedModelSession(path, tags=self._options.tags, session_config=self._session_config())
        except Exception:
            self._metrics.load(path, "fail", time.perf_counter() - start)
            raise
        self._metrics.load(path, "success", time.perf_counter() - start)
        try:
            servable = Servable(name, version, session, metrics=self._metrics, batching=batching, xla=self._options.xla)
        except Exception:
            session.close()
            raise
        if self._options.warm_up:
            try:
                count = warmup.run(servable, path, iterations=self._options.warm_up_iterations)
            except Exception:
                servable.close()
                raise
            if count:
                logger.info("Ran %d warm-up requests of {name: %s version: %d}", count, name, version)
        return servable

    def _batching_of(self, path: str) -> tuple[BatchScheduler, BatchingOptions] | None:
        if self._scheduler is None or self._batching is None:
            return None
        if not self._options.per_model_batching:
            return self._scheduler, self._batching
        file = os.path.join(path, "batching_params.pbtxt")
        if not os.path.exists(file):
            return None
        try:
            return self._scheduler, BatchingOptions.from_proto(protos.read(file, protos.BatchingParameters))
        except UserError as error:
            raise invalid(str(error)) from None

    def _session_config(self) -> Any:
        from tensorflow.core.protobuf import config_pb2

        options = self._options
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
        )
        if options.gpu_memory_fraction:
            config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
        else:
            config.gpu_options.allow_growth = True
        return config
