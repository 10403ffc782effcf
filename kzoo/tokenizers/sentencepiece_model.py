"""Writes the protocol buffer that the SentencePiece op reads (sentencepiece_model.proto, the few fields used here)."""

import struct
from collections.abc import Iterable

_NORMAL, _UNKNOWN = 1, 2
_BPE = 2
_UNKNOWN_PIECE = "\u0100"  # no byte is written as this character


def bpe_model(pieces: Iterable[tuple[str, float]]) -> bytes:
    """A BPE model of pieces and scores that changes no input: of two neighbours, those with the best joint score merge.

    Piece i has id i + 1; id 0 is the unknown piece.
    """
    written = [_piece(_UNKNOWN_PIECE, 0.0, _UNKNOWN), *(_piece(piece, score, _NORMAL) for piece, score in pieces)]
    trainer = _integer(3, _BPE)
    normalizer = _bytes(1, b"identity") + _bytes(2, _no_rules())
    normalizer += b"".join(_integer(field, 0) for field in (3, 4, 5))  # add prefix, trim, escape white space
    return b"".join(_bytes(1, piece) for piece in written) + _bytes(2, trainer) + _bytes(3, normalizer)


def _no_rules() -> bytes:
    """Normalization rules of which none applies; were there no rules at all, each load would log that.

    The size of a trie, the trie (a double array in which no byte leads from the root anywhere), and no replacements.
    """
    units = [1] + [1 << 31] * 255
    return struct.pack("<257I", 4 * len(units), *units) + b"\0"


def _piece(piece: str, score: float, kind: int) -> bytes:
    return _bytes(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + _integer(3, kind)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
