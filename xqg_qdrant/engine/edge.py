"""The embedded engine: Qdrant Edge, the Rust engine in this very process, one folder a collection.

::

    ROOT/NAME/collection.json     which named vectors its points have
    ROOT/NAME/documents/KEY.json  the manifest and the journal, each with its checksum
    ROOT/NAME/shard/              what Qdrant Edge writes

A collection is made under a hidden name and renamed, and renamed before it is removed, so that
one that can be seen is whole. The write-ahead log is on: what was acknowledged survives the end
of the process. See https://qdrant.tech/documentation/edge/.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import portalocker
import qdrant_edge as edge

from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.engine.base import CollectionInfo, Engine, Point, ScoredPoint
from xqg_qdrant.engine.edge_models import (
    from_description,
    from_record,
    from_scored,
    to_config,
    to_description,
    to_filter,
    to_point,
    to_query,
)
from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    EngineError,
    InputError,
    StorageError,
    XqgError,
)

MIN_FREE_BYTES = 128 * 2**20
"""Room that is always left. A full disk does not raise in Edge: SIGBUS ends the process."""

OPEN_FREE_BYTES = 64 * 2**20
"""Room without which no collection is opened: opening crashed with 33 MiB, and went with 39."""

_WRITE_FACTOR = 4
"""Bytes on disk per byte of points, at most: log, segment, and a copy while optimising."""

_SHARD = "shard"
_DOCUMENTS = "documents"
_DESCRIPTION = "collection.json"
_LOCK = "lock"
_HIDDEN = (".creating-", ".deleting-")
_STALE_SECONDS = 3600.0


class EdgeEngine(Engine):
    """Collections in a folder, searched in this process.

    One process at a time may have a collection open; a second one gets ``CollectionLocked``.
    Threads may share the engine: calls are taken one after the other, and hold the GIL.
    It must not be used after ``os.fork`` in the child.

    Args:
        root: the folder; made when the first collection is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._shards: dict[str, edge.EdgeShard] = {}
        self._opened: dict[str, tuple[int, int] | None] = {}
        self._unflushed: set[str] = set()
        self._locks: dict[str, IO[str]] = {}
        self._shapes: dict[str, Shape] = {}
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} is a file: collections need a folder")

    @classmethod
    def in_memory(cls) -> Self:
        """An engine on a temporary folder, removed when the engine is closed."""
        folder = tempfile.TemporaryDirectory(prefix="xqg-", ignore_cleanup_errors=True)
        engine = cls(Path(folder.name))
        engine.location = ":memory:"
        engine._temporary = folder
        return engine

    def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{_DESCRIPTION}"))

    def exists(self, name: str) -> bool:
        """Whether there is a collection of that name."""
        return (self.root / name / _DESCRIPTION).is_file()

    def info(self, name: str) -> CollectionInfo:
        """Counts and shape of a collection."""
        with self._shard(name) as shard:
            info = shard.info()
        return CollectionInfo(info.points_count, info.indexed_vectors_count, self._shape(name))

    def read_document(self, name: str, key: str) -> dict[str, Any] | None:
        """A JSON object kept with the collection; see :class:`Engine`.

        Raises:
            StorageError: the file was damaged.
        """
        self.require(name)
        path = self._document(name, key)
        if not path.is_file():
            return None
        return _read_sealed(path, name)

    def write_document(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object with the collection; see :class:`Engine`."""
        self.require(name)
        with _storage(f"write the {key} of {name!r} at {self.location}"):
            _write_atomically(self._document(name, key), _sealed(value))

    def count(self, name: str, where: Sequence[Condition] = ()) -> int:
        """How many points fulfil all conditions, exactly."""
        with self._shard(name) as shard:
            return shard.count(edge.CountRequest(exact=True, filter=to_filter(where)))

    def scroll(
        self, name: str, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[Point]:
        """All points, in the order of their ids."""
        offset = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=batch_size, with_payload=True, with_vector=with_vectors
            )
            with self._shard(name) as shard:
                records, offset = shard.scroll(request)
            yield from map(from_record, records)
            if offset is None:
                return

    def ensure_space(self, name: str, incoming: int) -> None:
        """Check that there is room for points to come; see :class:`Engine`."""
        self._require_free(name, incoming * _WRITE_FACTOR + MIN_FREE_BYTES)

    def flush(self, name: str) -> None:
        """Bring all that was acknowledged to the disk itself."""
        with self._shard(name) as shard:
            self._flush(name, shard)

    def optimize(self, name: str) -> None:
        """Merge segments and build the HNSW graphs; holds the GIL for as long as it takes."""
        with _storage(f"look at the files of collection {name!r} at {self.location}"):
            size = sum(path.stat().st_blocks for path in (self.root / name).rglob("*")) * 512
        self.ensure_space(name, size // _WRITE_FACTOR)
        with self._shard(name) as shard:
            self._unflushed.add(name)
            shard.optimize()
            self._flush(name, shard)

    def close(self) -> None:
        """Close all collections; a temporary folder is removed."""
        with self._lock:
            names = list(self._shards)
            errors = [error for name in names if (error := self._close_shard(name))]
            if self._temporary is not None:
                self._temporary.cleanup()
        if errors:
            raise errors[0]

    def _create(
        self,
        name: str,
        shape: Shape,
        keyword_indexes: list[str],
        documents: dict[str, Any],
    ) -> None:
        self.ensure_space(name, 0)
        hidden = self.root / f"{_HIDDEN[0]}{name}-{uuid.uuid4().hex}"
        if (self.root / name).exists() and not self.exists(name):
            raise StorageError(
                f"{self.root / name} is in the way: it holds no {_DESCRIPTION}, so it is no "
                "collection, or what is left of one. Move it away or remove it, then run the same "
                "again"
            )
        with self._lock, _storage(f"make a collection in {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            try:
                (hidden / _DOCUMENTS).mkdir(parents=True)
                with _guarded(f"make collection {name!r}"):
                    shard = edge.EdgeShard.create(str(hidden / _SHARD), to_config(shape))
                    for field in keyword_indexes:
                        shard.update(
                            edge.UpdateOperation.create_field_index(
                                field, edge.PayloadSchemaType.Keyword
                            )
                        )
                    shard.close()
                for key, value in documents.items():
                    _write_atomically(hidden / _DOCUMENTS / f"{key}.json", _sealed(value))
                _write_atomically(hidden / _DESCRIPTION, _sealed(to_description(shape)))
                hidden.rename(self.root / name)
                _sync_folder(self.root)
            except OSError:
                if self.exists(name):  # made by another process meanwhile
                    raise CollectionExists(
                        f"collection {name!r} exists already at {self.location}"
                    ) from None
                raise
            finally:
                shutil.rmtree(hidden, ignore_errors=True)

    def _delete(self, name: str) -> None:
        with self._lock, _storage(f"delete collection {name!r} at {self.location}"):
            try:
                with self._shard(name):
                    pass
            except CollectionLocked:
                raise
            except EngineError:
                pass  # damaged: all the more reason to let the user be rid of it
            self._close_shard(name)
            hidden = self.root / f"{_HIDDEN[1]}{name}-{uuid.uuid4().hex}"
            (self.root / name).rename(hidden)
            self._shapes.pop(name, None)
            shutil.rmtree(hidden)

    def _shape(self, name: str) -> Shape:
        if name not in self._shapes:
            self.require(name)
            self._shapes[name] = from_description(
                _read_sealed(self.root / name / _DESCRIPTION, name)
            )
        return self._shapes[name]

    def _upsert(self, name: str, points: Sequence[Point]) -> None:
        batch = [to_point(point) for point in points]
        with self._shard(name) as shard:
            self._unflushed.add(name)
            shard.update(edge.UpdateOperation.upsert_points(batch))

    def _search(
        self,
        name: str,
        vectors: Sequence[AnyVector],
        using: Sequence[str],
        limit: int,
        where: Sequence[Condition],
        exact: bool,
        *,
        payload: bool,
    ) -> list[list[ScoredPoint]]:
        conditions = to_filter(where)
        requests = [
            to_query(vector, each, limit=limit, where=conditions, exact=exact, payload=payload)
            for vector, each in zip(vectors, using, strict=True)
        ]
        with self._shard(name) as shard:
            found = shard.query_batch(edge.QueryBatchRequest(requests))
        return [[from_scored(point) for point in each] for each in found]

    def _payloads(self, name: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        with self._shard(name) as shard:
            records = shard.retrieve(list(ids), True, False)
        return {str(record.id): record.payload or {} for record in records}

    @contextmanager
    def _shard(self, name: str) -> Iterator[edge.EdgeShard]:
        """The open shard of a collection, held for one call; after a panic it is let go of."""
        if os.getpid() != self._process:
            raise EngineError(
                "the embedded engine was opened before os.fork and cannot be used in the child: "
                "open it there anew, or start processes with the 'spawn' method"
            )
        with self._lock:
            if name not in self._shards:
                self.require(name)
                self._shards[name] = self._load(name)
                self._opened[name] = _identity(self.root / name / _SHARD)
            try:
                with _guarded(f"work on collection {name!r} at {self.location}"):
                    yield self._shards[name]
            except _EnginePanic:
                self._close_shard(name)
                raise

    def _load(self, name: str) -> edge.EdgeShard:
        self._require_free(name, OPEN_FREE_BYTES)
        action = f"open collection {name!r} at {self.location}"
        with _storage(action):
            lock = (self.root / name / _LOCK).open("a")
        try:
            # The engine has a lock too, but before it looks at it, it mends files: a second
            # process that merely tries makes the first one fail.
            portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
            with _guarded(action):
                shard = edge.EdgeShard.load(str(self.root / name / _SHARD))
        except portalocker.LockException:
            lock.close()
            raise _locked(action) from None
        except BaseException as error:
            _unlock(lock)
            if isinstance(error, EngineError) and not isinstance(error, StorageError):
                raise EngineError(
                    f"{error}. Its files are damaged: {_build_again(name)}"
                ) from error
            raise
        self._locks[name] = lock
        return shard

    def _require_free(self, name: str, wanted: int) -> None:
        folders = (self.root, *self.root.absolute().parents)
        existing = next(folder for folder in folders if folder.exists())
        with _storage(f"look at the free space of {existing}"):
            free = shutil.disk_usage(existing).free
        if free < wanted:
            raise StorageError(
                f"not enough room at {self.root}: {free / 2**20:,.0f} MiB are free, collection "
                f"{name!r} needs {wanted / 2**20:,.0f} MiB to go on safely: make room, then run "
                "the same again"
            )

    def _flush(self, name: str, shard: edge.EdgeShard) -> None:
        """Flush to the files where others will look, not to ones that were removed since.

        Raises:
            StorageError: the folder was removed or replaced while it was open.
        """
        if _identity(self.root / name / _SHARD) != self._opened[name]:
            self._unflushed.discard(name)
            self._close_shard(name)
            raise StorageError(
                f"{self.root / name} was removed or replaced while collection {name!r} was open: "
                "what was written is lost. Run the same again"
            )
        shard.flush()
        self._unflushed.discard(name)

    def _close_shard(self, name: str) -> XqgError | None:
        shard = self._shards.pop(name, None)
        try:
            if shard is not None:
                with _guarded(f"close collection {name!r} at {self.location}"):
                    if name in self._unflushed:  # a reader has nothing to write, nor needs the room
                        shard.flush()
                    shard.close()
        except XqgError as error:
            return error
        finally:
            self._unflushed.discard(name)
            if lock := self._locks.pop(name, None):
                _unlock(lock)
        return None

    def _document(self, name: str, key: str) -> Path:
        return self.root / name / _DOCUMENTS / f"{key}.json"

    def _sweep(self) -> None:
        """Remove what creations and deletions that were killed long ago have left."""
        for path in self.root.iterdir():
            if not path.name.startswith(_HIDDEN):
                continue
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


class _EnginePanic(EngineError):
    """The engine panicked: what is in memory cannot be trusted, what is on disk is read again."""


@contextmanager
def _guarded(action: str) -> Iterator[None]:
    """Turn whatever Edge raises, panics included, into errors of ours."""
    try:
        yield
    except (XqgError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:  # Edge raises plain Exception
        text = str(error)
        if "WouldBlock" in text:
            raise _locked(action) from error
        if "No space left" in text or "Read-only file system" in text:
            raise StorageError(
                f"cannot {action}: {text}. Make room, or let it be written to, then run the same "
                "again"
            ) from error
        raise EngineError(f"cannot {action}: {text}") from error
    except BaseException as error:  # PanicException of the Rust engine
        raise _EnginePanic(f"cannot {action}: the engine panicked: {error}") from error


def _locked(action: str) -> CollectionLocked:
    return CollectionLocked(
        f"cannot {action}: another process, or another client in this one, has it open. Close "
        "that one, or share collections by a Qdrant server (docker-compose.yml)"
    )


def _unlock(lock: IO[str]) -> None:
    """Let go of a lock, also where a forked child has the file too."""
    with suppress(portalocker.LockException):
        portalocker.unlock(lock)
    lock.close()


@contextmanager
def _storage(action: str) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {action}: {error.strerror or error}") from error


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"sha256": _checksum(value), "value": dict(value)}


def _write_atomically(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader finds the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _read_sealed(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Raises:
        StorageError: the file was damaged; a flipped bit is enough.
    """
    try:
        row = read_json_object(path)
    except InputError as error:
        raise StorageError(f"{error}. The file is damaged: {_build_again(name)}") from None
    value = row.get("value")
    if not isinstance(value, dict) or row.get("sha256") != _checksum(value):
        raise StorageError(
            f"{path}: its checksum does not fit. The file is damaged: {_build_again(name)}"
        )
    return value


def _build_again(name: str) -> str:
    return f"delete the collection ('xqg delete -c {name}') and ingest it again"


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, None if there is nothing: the same path may lead to another folder."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync_folder(path: Path) -> None:
    """Bring new names in a folder to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
