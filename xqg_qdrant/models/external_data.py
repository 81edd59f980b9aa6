"""Which files beside it an ONNX model takes its weights from, read without the onnx package.

A model may name any path there. Releases of onnxruntime differ in what they refuse, so files are
looked up before it opens a model: only those that the manifest lists, and thereby hashes, may be
used. A few messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto are walked through;
weights themselves are skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path

from xqg_qdrant.errors import ModelError

_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external data"},
}
"""The number of each field that leads to a tensor's ``external_data``, by message."""

_KEY, _VALUE = 1, 2
_DEEPEST = 100
_LARGEST_TAG = 2**32 - 1
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5


def check_external_data(path: Path, listed: Collection[str]) -> None:
    """Check that a model takes its weights from listed files of its own folder alone.

    Args:
        path: of the ONNX file.
        listed: plain names of files that it may use.

    Raises:
        ModelError: it names another file, is no ONNX model or cannot be read.
    """
    for location in external_data(path):
        if location not in listed:
            raise ModelError(
                f"{path}: its weights are in {location!r}, a file that the manifest does not list: "
                "the model was changed, or is hostile"
            )


def external_data(path: Path) -> set[str]:
    """Locations that a model names, as they stand there.

    Raises:
        ModelError: it is no ONNX model, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if size == 0:
                return set()
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return set(_locations(data, "model", 0, size, 0))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except _Malformed as error:
        raise ModelError(f"{path}: not an ONNX model: {error}") from None


class _Malformed(Exception):
    pass


def _locations(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise _Malformed("it is nested too deep")
    if message == "external data":
        yield from _location(data, start, end)
        return
    parts = _PARTS[message]
    for number, begin, stop in _fields(data, start, end):
        if number in parts:
            yield from _locations(data, parts[number], begin, stop, depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    entry = {number: data[begin:stop] for number, begin, stop in _fields(data, start, end)}
    if entry.get(_KEY) == b"location":
        yield entry.get(_VALUE, b"").decode("utf-8", errors="backslashreplace")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each delimited field of a message; others are skipped."""
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        if tag > _LARGEST_TAG:  # protobuf drops the upper bits, and would see another field
            raise _Malformed("the number of a field is too large")
        wire = tag & 7
        if wire == _DELIMITED:
            length, place = _varint(data, place, end)
            if place + length > end:
                raise _Malformed("it ends too early")
            yield tag >> 3, place, place + length
            place += length
        elif wire == _VARINT:
            _, place = _varint(data, place, end)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            place += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise _Malformed(f"a field of unknown kind {wire}")
    if place > end:
        raise _Malformed("it ends too early")


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise _Malformed("it ends too early")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    raise _Malformed("a number is too long")
