"""Asks a served model over gRPC with the official stubs, without loading TensorFlow.

Needs the packages grpcio and tensorflow-serving-api. Inputs with a default may be left out.

python ask_grpc.py reviews "A film to remember."
python ask_grpc.py story "Once upon a time" --signature generate --set temperature=0.8 --set seed=1
python ask_grpc.py reviews "A film to remember." --label stable --address localhost:8500 --ca certificate.pem
"""

import argparse
import importlib.util
import json
import sys
import types

import grpc

# The stubs need TensorFlow's messages, not TensorFlow: an empty package with its path keeps its __init__ from running.
if "tensorflow" not in sys.modules:
    _package = types.ModuleType("tensorflow")
    _package.__path__ = list(importlib.util.find_spec("tensorflow").submodule_search_locations)
    sys.modules["tensorflow"] = _package

from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

FIELDS = {  # where a TensorProto keeps its values, by dtype
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
}


def choose(spec, model, label):
    """Names a model, or the version of it that a label names."""
    spec.name = model
    if label:
        spec.version_label = label


def open_channel(address, ca):
    """A connection, over TLS where a file of certificates to trust is given."""
    if not ca:
        return grpc.insecure_channel(address)
    with open(ca, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))


def signature_inputs(stub, model, signature, label):
    """Name of each input of a signature to its dtype."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    choose(request.model_spec, model, label)
    reply = stub.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap.FromString(reply.metadata["signature_def"].value).signature_def
    if signature not in signatures:
        sys.exit(f"{model} has no signature {signature}; it has {', '.join(sorted(signatures))}.")
    return {name: tensor.dtype for name, tensor in signatures[signature].inputs.items()}


def fill(tensor, dtype, values):
    """Writes a vector into an empty TensorProto."""
    tensor.dtype = dtype
    tensor.tensor_shape.dim.add(size=len(values))
    getattr(tensor, FIELDS[dtype]).extend(values)


def rows(tensor):
    """A TensorProto's rows as nested lists."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    values = list(getattr(tensor, FIELDS[tensor.dtype]))
    if tensor.dtype == types_pb2.DT_STRING:
        values = [value.decode("utf-8") for value in values]
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def main():
    """Asks what the command line says and prints one answer a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an input besides the text")
    parser.add_argument("--label", help="a label of a version, such as stable")
    parser.add_argument("--ca", help="TLS, trusting the certificates of this PEM file")
    arguments = parser.parse_args()
    with open_channel(arguments.address, arguments.ca) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            dtypes = signature_inputs(stub, arguments.model, arguments.signature, arguments.label)
            request = predict_pb2.PredictRequest()
            choose(request.model_spec, arguments.model, arguments.label)
            request.model_spec.signature_name = arguments.signature
            knobs = dict(pair.partition("=")[::2] for pair in arguments.set)
            texts = [name for name, dtype in dtypes.items() if dtype == types_pb2.DT_STRING and name not in knobs]
            if unknown := sorted(set(knobs) - set(dtypes)):
                sys.exit(
                    f"{arguments.signature} has no input {', '.join(unknown)}; it has {', '.join(sorted(dtypes))}."
                )
            for name in texts:
                fill(request.inputs[name], dtypes[name], [text.encode("utf-8") for text in arguments.text])
            for name, value in knobs.items():
                parsed = value.encode("utf-8") if dtypes[name] == types_pb2.DT_STRING else json.loads(value)
                fill(request.inputs[name], dtypes[name], [parsed] * len(arguments.text))
            outputs = {name: rows(tensor) for name, tensor in stub.Predict(request, timeout=30).outputs.items()}
        except grpc.RpcError as error:
            sys.exit(f"The server answered {error.code().name}: {error.details()}")
    for row in range(len(arguments.text)):
        print(json.dumps({name: values[row] for name, values in sorted(outputs.items())}, ensure_ascii=False))


if __name__ == "__main__":
    main()
