"""A collection in one file: a tar of JSON lines and raw vectors, the same from every engine.

::

    points/000000.jsonl    a line a point: [id, payload, {vector: rows or terms, where they vary}]
    points/000000.vectors  their vectors in the same order, by name: float32, little-endian; a
                           sparse vector is its indices (uint32), then its values (float32)
    backup.json            last: shape, documents, the parts with their sizes and SHA-256 hashes

It is read in place: nothing is unpacked to the disk or unpickled, nothing is compressed, so that
what it takes is never more than its size, and every byte is checked before the first is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from xqg_qdrant.collection import CollectionManifest, hit_from_payload, point_id
from xqg_qdrant.corpus.jsonl import json_digest
from xqg_qdrant.corpus.writing import replacing_binary
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import CollectionMismatch, EngineError, InputError
from xqg_qdrant.fusion import Vector
from xqg_qdrant.lexical import SparseVector
from xqg_qdrant.loader.copying import Source
from xqg_qdrant.loader.documents import MANIFEST
from xqg_qdrant.records import Progress

FORMAT = "xqg-backup"
VERSION = 1
SUFFIX = ".xqg.tar"
INDEX = "backup.json"

_PART_POINTS = 1024
_PART_BYTES = 32 * 2**20
_MAX_MEMBER_BYTES = 2**30
_CHUNK = 2**20
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VECTOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, EOFError, OSError)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    Attributes:
        path: of the file.
        source: what was backed up.
        points: in it.
        bytes: of the file.
        sha256: of the file.
    """

    path: str
    source: str
    points: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def check_target(path: Path, name: str, *, overwrite: bool, suffix: str = SUFFIX) -> Path:
    """The file of a backup: the path, or, where that is a folder, a file in it named after NAME.

    Raises:
        InputError: it exists, and is not to be overwritten.
    """
    if path.is_dir():
        path = path / (name + suffix)
    if path.exists() and not (overwrite and path.is_file()):
        raise InputError(
            f"{path} exists already: choose another file, or overwrite it with --force "
            "(overwrite=True)"
        )
    return path


def write_backup(
    source: Source, path: Path, progress: Callable[[Progress], None] | None = None
) -> BackupReport:
    """Write a collection to a file, which appears whole or not at all.

    Raises:
        InputError: the file cannot be written there.
        StorageError: the disk is full.
        EngineError: the collection was written to meanwhile.
    """
    with replacing_binary(path) as stream:
        hashed = _Hashed(stream)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            parts, done = [], 0
            for number, points in enumerate(_parts(source)):
                lines, vectors = _encoded(points, source.shape)
                parts.append(
                    {
                        "points": len(points),
                        "last": points[-1].id,
                        "jsonl": _add(tar, f"points/{number:06d}.jsonl", lines),
                        "vectors": _add(tar, f"points/{number:06d}.vectors", vectors),
                    }
                )
                done += len(points)
                if progress is not None:
                    progress(Progress("backing up", done, source.total))
            if done != source.total:
                raise EngineError(
                    f"{source.description} had {source.total:,} points, and gave {done:,}: it was "
                    "written to meanwhile; back it up when that has ended"
                )
            index = {
                "format": FORMAT,
                "version": VERSION,
                "points": done,
                "dimensions": dict(source.shape.dimensions),
                "multivectors": sorted(source.shape.multivectors),
                "sparse": sorted(source.shape.sparse),
                "documents": {key: dict(row) for key, row in source.documents.items()},
                "parts": parts,
            }
            sealed = {"sha256": json_digest(index), "backup": index}
            _add(tar, INDEX, json.dumps(sealed, ensure_ascii=False).encode())
    return BackupReport(
        str(path), source.description, done, path.stat().st_size, hashed.digest.hexdigest()
    )


class BackupSource(Source):
    """A backup to restore, opened and checked whole.

    Args:
        path: of the file.
        progress: called while it is checked.

    Raises:
        InputError: it is no backup, damaged, cut off, or not honest.
    """

    def __init__(self, path: Path, progress: Callable[[Progress], None] | None = None) -> None:
        self.path = path
        self.description = f"backup {path}"
        self._members: dict[str, tuple[int, int]] = {}  # where their bytes are, and how many
        self._read_members()
        index = self._read_index()
        try:
            self._take(index)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise self._bad(f"its {INDEX} is not as it should be ({error})") from None
        self._check_hashes(progress)

    def points(self, start: str | None = None) -> Iterator[Point]:
        """All points with their vectors, in the order of their ids.

        Raises:
            InputError: a point is malformed.
        """
        for number, part in enumerate(self._parts):
            if start is not None and part["last"] < start:
                continue
            for point in self._decoded(number, part):
                if start is None or point.id >= start:
                    yield point

    def _read_members(self) -> None:
        """Find what is in the tar; only plain files are taken, by the names that we give."""
        try:
            size = self.path.stat().st_size
            with tarfile.open(self.path, "r:") as tar:
                for member in tar:
                    if not member.isreg() or member.issparse() or member.size < 0:
                        raise self._bad(f"{member.name!r} in it is no plain file")
                    if member.name in self._members:
                        raise self._bad(f"{member.name!r} is in it twice")
                    if member.offset_data + member.size > size:
                        raise self._bad("it was cut off")
                    if member.size > _MAX_MEMBER_BYTES:
                        raise self._bad(f"{member.name!r} in it is too large")
                    self._members[member.name] = (member.offset_data, member.size)
        except tarfile.ReadError as error:
            raise self._bad(str(error)) from None
        except FileNotFoundError:
            raise InputError(f"{self.path}: there is no such file") from None
        except _TAR_ERRORS as error:
            raise self._bad(str(error)) from None

    def _read_index(self) -> Any:
        if INDEX not in self._members:
            raise self._bad(f"there is no {INDEX} in it, it is another file, or was cut off")
        try:
            sealed = json.loads(self._bytes(INDEX))
            index = sealed["backup"]
            if sealed["sha256"] != json_digest(index):
                raise self._bad(f"the checksum of its {INDEX} does not fit")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._bad(f"its {INDEX} is not as it should be ({error})") from None
        return index

    def _take(self, index: Any) -> None:
        """Take over the index, checked field by field: its hash says nothing of who wrote it."""
        if index["format"] != FORMAT or index["version"] != VERSION:
            raise self._bad(
                f"it has format {index['format']!r}, version {index['version']!r}, this release "
                f"reads {FORMAT!r}, version {VERSION}"
            )
        self.shape = Shape(
            {str(name): int(size) for name, size in index["dimensions"].items()},
            frozenset(index["multivectors"]),
            frozenset(index["sparse"]),
        )
        try:
            self.shape.check()
        except InputError as error:
            raise self._bad(str(error)) from None
        documents = index["documents"]
        for key, row in documents.items():
            if not _KEY.fullmatch(key) or not isinstance(row, dict):
                raise ValueError(f"document {key!r}")
        for name in self.shape.names:
            if not _VECTOR_NAME.fullmatch(name):
                raise ValueError(f"vector {name!r}")
        self.documents = documents
        try:
            manifest = CollectionManifest.from_json(documents.get(MANIFEST, {}), self.path.name)
        except CollectionMismatch as error:
            raise self._bad(str(error)) from None
        if self.shape != Shape(
            manifest.dimensions,
            manifest.layout_object.multivectors,
            frozenset(manifest.sparse_names),
        ):
            raise ValueError("its vectors are not those of its manifest")
        self._parts = list(index["parts"])
        self.total = sum(_natural(part["points"]) for part in self._parts)
        if self.total != index["points"]:
            raise ValueError(f"{self.total} points in its parts, not {index['points']}")
        names = {INDEX}
        for number, part in enumerate(self._parts):
            if not isinstance(part["last"], str):
                raise TypeError("last")
            for kind in ("jsonl", "vectors"):
                names.add(name := f"points/{number:06d}.{kind}")
                if name not in self._members or self._members[name][1] != part[kind]["bytes"]:
                    raise ValueError(f"{name} is missing, or of another size")
        if strange := sorted(self._members.keys() - names):
            raise ValueError(f"{strange[0]!r} does not belong to it")

    def _check_hashes(self, progress: Callable[[Progress], None] | None) -> None:
        done = 0
        for number, part in enumerate(self._parts):
            for kind in ("jsonl", "vectors"):
                name = f"points/{number:06d}.{kind}"
                if hashlib.sha256(self._bytes(name)).hexdigest() != part[kind].get("sha256"):
                    raise self._bad(f"the checksum of {name} in it does not fit")
            done += part["points"]
            if progress is not None:
                progress(Progress("verifying", done, self.total))

    def _decoded(self, number: int, part: Mapping[str, Any]) -> Iterator[Point]:
        where = f"{self.path}, points/{number:06d}.jsonl"
        lines = self._bytes(f"points/{number:06d}.jsonl").splitlines()
        blob = _Blob(self._bytes(f"points/{number:06d}.vectors"))
        if len(lines) != part["points"]:
            raise InputError(f"{where}: {len(lines)} lines, not {part['points']}")
        for row, line in enumerate(lines, start=1):
            try:
                own_id, payload, numbers = json.loads(line)
                vectors = {name: self._vector(name, blob, numbers) for name in self.shape.names}
                point = Point(own_id, dict(payload), vectors)
                if point.id > part["last"] or point.id != point_id(payload["passage_id"]):
                    raise ValueError(f"id {point.id!r} does not belong here")
                hit_from_payload(payload, 0.0)  # as a search will read it
            except (
                ValueError,
                TypeError,
                KeyError,
                AttributeError,
                RecursionError,
                CollectionMismatch,
            ) as error:
                raise InputError(f"{where}, line {row}: {error}") from None
            yield point
        if blob.left:
            raise InputError(f"{where}: there are more vectors than points")

    def _vector(self, name: str, blob: _Blob, numbers: Mapping[str, Any]) -> AnyVector:
        if name in self.shape.sparse:
            terms = _natural(numbers[name])
            return SparseVector(blob.take(terms, "<u4"), blob.take(terms, "<f4"))
        dimension = self.shape.dimensions[name]
        rows = _natural(numbers[name]) if name in self.shape.multivectors else 1
        vector: Vector = blob.take(rows * dimension, "<f4")
        return vector.reshape(-1, dimension) if name in self.shape.multivectors else vector

    def _bytes(self, name: str) -> bytes:
        offset, size = self._members[name]
        try:
            with self.path.open("rb") as stream:
                stream.seek(offset)
                return stream.read(size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from None

    def _bad(self, reason: str) -> InputError:
        return InputError(f"{self.path} is no backup that can be restored: {reason}")


class _Blob:
    """Numbers to be taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken."""
        return len(self._data) - self._at

    def take(self, number: int, kind: str) -> Any:
        """The next numbers, as a numpy array of the machine's own byte order."""
        if number * 4 > self.left:
            raise ValueError("there are fewer vectors than points")
        array = np.frombuffer(self._data, dtype=kind, count=number, offset=self._at)
        self._at += number * 4
        return array.astype(array.dtype.newbyteorder("="))


class _Hashed(io.RawIOBase):
    """A stream to write to that hashes what goes through."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write and hash."""
        self.digest.update(data)
        return self._stream.write(data)


def _parts(source: Source) -> Iterator[list[Point]]:
    part: list[Point] = []
    size = 0
    for point in source.points():
        part.append(point)
        size += sum(vector.nbytes for vector in point.vectors.values())
        if len(part) == _PART_POINTS or size > _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _encoded(points: list[Point], shape: Shape) -> tuple[bytes, bytes]:
    """The lines and the vectors of a part."""
    lines, vectors = [], []
    for point in points:
        numbers: dict[str, int] = {}
        for name in shape.names:
            vector = point.vectors[name]
            if isinstance(vector, SparseVector):
                numbers[name] = len(vector)
                vectors.append(vector.indices.astype("<u4").tobytes())
                vectors.append(vector.values.astype("<f4").tobytes())
                continue
            if name in shape.multivectors:
                numbers[name] = len(vector)
            vectors.append(vector.astype("<f4").tobytes())
        # ASCII: no character in a text is taken for the end of a line.
        lines.append(json.dumps([point.id, point.payload, numbers], sort_keys=True).encode())
    return b"".join(line + b"\n" for line in lines), b"".join(vectors)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> dict[str, Any]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _natural(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no number of anything")
    return value
