"""Safetensors files, single and sharded: read lazily, written aside and renamed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  numpy learns bfloat16
import numpy as np
import safetensors
import safetensors.numpy

from kzoo.checkpoints.replacing import replacing
from kzoo.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "pytorch_model.pt", "model.pkl")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "BOOL": "bool"}
_DTYPES |= {"I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"}


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a directory by name; each is read from disk when asked for.

    Args:
        directory: holds ``model.safetensors``, or shards and ``model.safetensors.index.json``.

    Raises:
        UserError: no such file, a truncated or foreign file, a shard that is missing, or only pickled weights.
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        self._files: dict[Path, safetensors.safe_open] = {}
        self._where: dict[str, Path] = {}
        for path in self._paths():
            file = _open(path)
            self._files[path] = file
            self._where.update(dict.fromkeys(file.keys(), path))

    def _paths(self) -> list[Path]:
        if (self.directory / SINGLE).is_file():
            return [self.directory / SINGLE]
        index = self.directory / INDEX
        if not index.is_file():
            _refuse_pickles(self.directory)
            raise UserError(f"A model directory holds {SINGLE} or {INDEX}. {self.directory} holds neither.")
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index} is not an index of shards ({error!r}). Fetch it again.") from None
        missing = [name for name in names if not (self.directory / name).is_file()]
        if missing:
            raise UserError(f"{index} names shards that are not there: {', '.join(missing)}. Fetch them.")
        return [self.directory / name for name in names]

    def path_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._where[name]

    def dtype_of(self, name: str) -> str:
        """The dtype a tensor is stored in, by numpy's name; one that numpy lacks is a UserError."""
        stored = self._files[self._where[name]].get_slice(name).get_dtype()
        if stored not in _DTYPES:
            raise UserError(f"{name} of {self._where[name]} is stored as {stored}; kzoo reads {', '.join(_DTYPES)}.")
        return _DTYPES[stored]

    def __getitem__(self, name: str) -> np.ndarray:
        return self._files[self._where[name]].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _open(path: Path) -> safetensors.safe_open:
    try:
        return safetensors.safe_open(path, framework="np")
    except (safetensors.SafetensorError, OSError) as error:
        if _is_pickle(path):
            raise UserError(
                f"{path} is a pickle under another name; kzoo never loads pickles, which can run code."
            ) from None
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); it has {path.stat().st_size} bytes. Fetch it again."
        ) from None


def _is_pickle(path: Path) -> bool:
    """Whether a file that is not safetensors begins as a pickle or as PyTorch's zip archive of one."""
    with path.open("rb") as file:
        beginning = file.read(9)
    if beginning[8:] == b"{":  # a safetensors file cut short: eight bytes of length, then JSON
        return False
    return beginning.startswith(b"PK\x03\x04") or (beginning[:1] == b"\x80" and 2 <= beginning[1] <= 5)


def _refuse_pickles(directory: Path) -> None:
    for name in PICKLES:
        if (directory / name).is_file():
            raise UserError(
                f"{directory / name} is a pickle, which can run code when it is read; kzoo never loads one. Convert it "
                'where you trust it: python -c "from transformers import AutoModel as M; '
                "M.from_pretrained('DIRECTORY').save_pretrained('NEW_DIRECTORY')\""
            )


def write(path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors in one safetensors file, whole or not at all.

    Raises:
        UserError: the file cannot be written, as on a full disk.
    """
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with replacing(path) as aside:
        try:
            safetensors.numpy.save_file(contiguous, aside, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from None
