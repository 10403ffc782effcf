"""The official messages and stubs of TensorFlow Serving, without loading TensorFlow.

``tensorflow-serving-api`` is generated code whose only need of TensorFlow is a score of its generated messages
(``tensorflow.core.framework.tensor_pb2`` and others). Importing those runs ``tensorflow/__init__.py`` first, which
takes seconds; a client that asks one question should not wait for that. So while the messages are imported, an empty
package with TensorFlow's path stands in its place. Once TensorFlow is loaded, or where this fails, they are imported
the ordinary way; TensorFlow loaded afterwards finds and uses the same messages.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types

_lock = threading.Lock()
_MODULES = {
    "classification_pb2": "tensorflow_serving.apis.classification_pb2",
    "example_pb2": "tensorflow.core.example.example_pb2",
    "get_model_metadata_pb2": "tensorflow_serving.apis.get_model_metadata_pb2",
    "get_model_status_pb2": "tensorflow_serving.apis.get_model_status_pb2",
    "inference_pb2": "tensorflow_serving.apis.inference_pb2",
    "meta_graph_pb2": "tensorflow.core.protobuf.meta_graph_pb2",
    "model_management_pb2": "tensorflow_serving.apis.model_management_pb2",
    "model_pb2": "tensorflow_serving.apis.model_pb2",
    "model_service_pb2_grpc": "tensorflow_serving.apis.model_service_pb2_grpc",
    "predict_pb2": "tensorflow_serving.apis.predict_pb2",
    "prediction_log_pb2": "tensorflow_serving.apis.prediction_log_pb2",
    "prediction_service_pb2_grpc": "tensorflow_serving.apis.prediction_service_pb2_grpc",
    "regression_pb2": "tensorflow_serving.apis.regression_pb2",
    "saved_model_pb2": "tensorflow.core.protobuf.saved_model_pb2",
    "tensor_pb2": "tensorflow.core.framework.tensor_pb2",
}


def load(name: str) -> types.ModuleType:
    """The generated module of that name, e.g. ``predict_pb2`` or ``prediction_service_pb2_grpc``."""
    module = sys.modules.get(_MODULES[name])
    if module is not None:
        return module
    with _lock:
        if "tensorflow" in sys.modules:
            return importlib.import_module(_MODULES[name])
        found = importlib.util.find_spec("tensorflow")
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError("The messages of TensorFlow Serving need the package tensorflow installed.")
        stand_in = types.ModuleType("tensorflow")
        stand_in.__path__ = list(found.submodule_search_locations)
        sys.modules["tensorflow"] = stand_in
        try:
            for path in _MODULES.values():  # all at once: the stand-in is there for a moment only
                importlib.import_module(path)
        finally:
            del sys.modules["tensorflow"]
        return sys.modules[_MODULES[name]]
