"""How the server joins requests of one model: ``batching_params.pbtxt`` in its version folder.

With ``--enable_per_model_batching_parameters`` the server reads this file beside ``saved_model.pb``; a model without it
is not batched. Of the server's own ``batching.config`` only the threads count then.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kzoo.serving import protos, saved_model
from kzoo.serving.placing import write_text

FILE = "batching_params.pbtxt"  # the name that TensorFlow Serving looks for
SIZES = (1, 2, 4, 8, 16, 32)
MOST_ROWS = 1024  # of one request
TIMEOUT = 1000  # microseconds
MOST_WAITING = 100  # batches

_HEADER = """\
# How the server joins requests for this model (BatchingParameters, text format). Read when the model is loaded, where
# the server was started with --enable_batching and --enable_per_model_batching_parameters.
#
# max_batch_size: rows of one request at most; a larger one is refused.
# enable_large_batch_splitting: a request of more than max_execution_batch_size rows is cut into parts.
# allowed_batch_sizes: a batch would be padded with rows to the next of these sizes, the last of which must equal
#   max_batch_size. None are set: nothing here runs faster for it, and the padding is computed like any other row.
# batch_timeout_micros: how long the first row of a batch waits for others. More joins more requests and answers later.
# max_enqueued_batches: batches that may wait for a thread; beyond that requests are refused (UNAVAILABLE).
# pad_variable_length_inputs: requests whose tensors have different inner sizes cannot share a batch without it. It pads
#   with a tensor's own first element, which is right where nothing behind a row's length is read; texts need none.
"""


def parameters(sizes: Sequence[int] = SIZES, *, pads: bool = False) -> Any:
    """``BatchingParameters`` for batches as large as the last of these sizes, those that the warm-up requests have.

    Batches have any number of rows up to that: a fifth of the work of 32 clients went into padding them to few sizes
    (``benchmarks/README.md``).

    Args:
        sizes: rows.
        pads: whether rows of different lengths are padded to share a batch.
    """
    largest = max(sizes, default=SIZES[-1])
    return protos.BatchingParameters(
        max_batch_size={"value": max(MOST_ROWS, largest)},
        enable_large_batch_splitting={"value": True},
        max_execution_batch_size={"value": largest},
        batch_timeout_micros={"value": TIMEOUT},
        max_enqueued_batches={"value": MOST_WAITING},
        pad_variable_length_inputs=pads,
    )


def write(directory: Path, sizes: Sequence[int] = SIZES, *, pads: bool = False) -> None:
    """Writes the file into a SavedModel's folder."""
    write_parameters(directory, parameters(sizes, pads=pads))


def write_parameters(directory: Path, given: Any) -> None:
    """Writes ``BatchingParameters`` of one's own into a SavedModel's folder, in the place of those that are there."""
    write_text(directory / FILE, f"{_HEADER}{protos.to_text(given)}")


def complete(directory: Path, sizes: Sequence[int] = SIZES) -> bool:
    """Checks a SavedModel's batching file, or writes one where it may be batched; whether it has one then.

    Args:
        directory: the SavedModel's folder.
        sizes: the batch sizes of its warm-up requests.

    Raises:
        UserError: the file that is there would stop the server from loading the model.
    """
    path = directory / FILE
    if path.is_file():
        protos.check_batching(protos.read(path, protos.BatchingParameters), where=str(path))
        return True
    signatures = saved_model.signatures_of(directory)
    if not can_be_batched(signatures):
        return False
    # kzoo's own signatures read nothing behind a row's length; of others who knows
    pads = bool(saved_model.description(directory)) and any(_may_differ(signature) for signature in signatures.values())
    write(directory, sizes, pads=pads)
    return True


def can_be_batched(signatures: Mapping[str, Any]) -> bool:
    """Whether rows of several requests may run as one batch, whichever signature they ask.

    Every input and output needs a first dimension of any size. No input of the default signature may have an inner one
    of any size: requests of different sizes would meet in a batch, and all of them fail. (Other signatures may.)
    """
    for name, signature in signatures.items():
        shapes = [entry["shape"] for part in ("inputs", "outputs") for entry in signature[part].values()]
        if any(not shape or shape[0] is not None for shape in shapes):
            return False
        if (name == "serving_default" or len(signatures) == 1) and _may_differ(signature):
            return False
    return True


def _may_differ(signature: Mapping[str, Any]) -> bool:
    """Whether inputs of two requests may differ in more than their rows."""
    return any(None in entry["shape"][1:] for entry in signature["inputs"].values())
