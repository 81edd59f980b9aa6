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

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import qdrant_edge as edge

from xqg_qdrant.corpus.writing import rename
from xqg_qdrant.engine.aliases import AliasFile
from xqg_qdrant.engine.base import CollectionInfo, Engine
from xqg_qdrant.engine.edge_errors import guarded
from xqg_qdrant.engine.edge_files import (
    build_again,
    read_sealed,
    require_free,
    sealed,
    storage_errors,
    write_atomically,
)
from xqg_qdrant.engine.edge_models import (
    from_description,
    from_record,
    from_scored,
    to_config,
    to_description,
    to_filter,
    to_params,
    to_point,
    to_query,
)
from xqg_qdrant.engine.edge_shards import SHARD, Shards
from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.engine.names import Pinned
from xqg_qdrant.engine.optimizing import (
    allocated_bytes,
    can_spawn,
    has_much_to_index,
    optimize_apart,
    optimize_here,
)
from xqg_qdrant.engine.points import Point, ScoredPoint
from xqg_qdrant.engine.storage import AUTO, INT8, Storage
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    EngineError,
    InputError,
    StorageError,
)

MIN_FREE_BYTES = 128 * 2**20
"""Room that is always left. A full disk does not raise in Edge: SIGBUS ends the process."""

_WRITE_FACTOR = 4
"""Bytes on disk per byte of points, at most: log, segment, and a copy while optimising."""

_DOCUMENTS = "documents"
_DESCRIPTION = "collection.json"
_HIDDEN = (".creating-", ".deleting-")
_STALE_SECONDS = 3600.0


class EdgeEngine(Engine):
    """Collections in a folder, searched in this process.

    One process at a time may have a collection open; a second one gets ``CollectionLocked``.
    Threads may share the engine: calls are taken one after the other, and hold the GIL.
    It must not be used after ``os.fork`` in the child.

    Args:
        root: the folder; made when the first collection is.
        temporary: that folder, if it is to be removed when the engine is closed.
    """

    alias_may_hide: ClassVar[bool] = True

    def __init__(
        self, root: Path, *, temporary: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self.root = root
        self._aliases = AliasFile(root)
        self._stood_for: dict[str, str] = {}
        self.location = str(root) if temporary is None else ":memory:"
        self._shards = Shards(root, self.location, self.require)
        self._lock = self._shards.lock
        self._shapes: dict[str, Shape] = {}
        self._storages = {}
        self._temporary = temporary
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} is a file: collections need a folder")

    @classmethod
    def in_memory(cls) -> Self:
        """An engine on a temporary folder, removed when the engine is closed."""
        folder = tempfile.TemporaryDirectory(prefix="xqg-", ignore_cleanup_errors=True)
        return cls(Path(folder.name), temporary=folder)

    def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{_DESCRIPTION}"))

    def exists(self, name: str) -> bool:
        """Whether there is a collection of that name, or an alias."""
        return (self.root / self.resolve(name) / _DESCRIPTION).is_file()

    def aliases(self) -> dict[str, str]:
        """Each alias with the collection that it stands for."""
        return {
            alias: name
            for alias, name in self._aliases.read().items()
            if (self.root / name / _DESCRIPTION).is_file()
        }

    def change_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Let names stand for collections; see :class:`Engine`."""
        self._aliases.change(changes)

    def resolve(self, name: str) -> str:
        """The collection itself that a name stands for now; see :class:`Engine`.

        When a name has moved on, the collection that it stood for before is closed: another
        process may want to delete it.
        """
        if isinstance(name, Pinned):
            return name
        real = Pinned(self._aliases.read().get(name, name))
        with self._lock:
            before = self._stood_for.get(name)
            self._stood_for[name] = real
            if before not in (None, real) and (error := self._shards.close(str(before))):
                raise error
        return real

    def info(self, name: str) -> CollectionInfo:
        """Counts and shape of a collection."""
        name = self.resolve(name)
        with self._shard(name) as shard:
            indexed = shard.info().indexed_vectors_count
            # Not of info(): after a kill in the midst of optimising that counts points twice.
            points = shard.count(edge.CountRequest(exact=True))
        return CollectionInfo(points, indexed, self._shape(name))

    def documents(self, name: str) -> dict[str, dict[str, Any]]:
        """All JSON objects kept with the collection, by their keys."""
        self.require(name)
        name = self.resolve(name)
        keys = sorted(path.stem for path in (self.root / name / _DOCUMENTS).glob("*.json"))
        return {key: row for key in keys if (row := self.read_document(name, key)) is not None}

    def read_document(self, name: str, key: str) -> dict[str, Any] | None:
        """A JSON object kept with the collection; see :class:`Engine`.

        Raises:
            StorageError: the file was damaged.
        """
        self.require(name)
        path = self._document(self.resolve(name), key)
        if not path.is_file():
            return None
        return read_sealed(path, name)

    def write_document(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object with the collection; see :class:`Engine`."""
        self.require(name)
        with storage_errors(f"write the {key} of {name!r} at {self.location}"):
            write_atomically(self._document(self.resolve(name), key), sealed(value))

    def count(self, name: str, where: Sequence[Condition] = ()) -> int:
        """How many points fulfil all conditions, exactly."""
        with self._shard(name) as shard:
            return shard.count(edge.CountRequest(exact=True, filter=to_filter(where)))

    def scroll(
        self,
        name: str,
        *,
        with_vectors: bool = False,
        batch_size: int = 256,
        start: str | None = None,
    ) -> Iterator[Point]:
        """All points, or those from the id ``start`` on, in the order of their ids."""
        name = self.resolve(name)
        offset: Any = start
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
        require_free(self.root, name, incoming * _WRITE_FACTOR + MIN_FREE_BYTES)

    def flush(self, name: str) -> None:
        """Bring all that was acknowledged to the disk itself."""
        name = self.resolve(name)
        with self._shard(name):
            self._shards.flush(name)

    def optimize(self, name: str) -> None:
        """Merge segments, build the HNSW graphs and quantise.

        Where there is much to do, a process of its own does it, since Edge holds the GIL all the
        while: other threads run on. Calls on this collection wait until it is done.

        Raises:
            EngineError: the process was killed, or the engine failed; the collection is as it was.
        """
        name = self.resolve(name)
        storage, shape = self.storage(name), self._shape(name)
        folder = self._shards.folder(name)
        with storage_errors(f"look at the files of collection {name!r} at {self.location}"):
            size = allocated_bytes(folder)
        self.ensure_space(name, size // _WRITE_FACTOR)
        with self._shards.held():
            with self._shard(name) as shard:
                self._shards.flush(name)
                quantized = storage.quantizes(shard.count(edge.CountRequest(exact=True)))
            changes = quantized and storage.quantization == AUTO
            if not changes and not has_much_to_index(folder, storage):
                with self._shard(name, writes=True) as shard:
                    shard.optimize()
                    self._shards.flush(name)
                return
            self._shards.lend(name)
        try:
            optimize = optimize_apart if can_spawn() else optimize_here
            optimize(folder, shape, storage, quantized=quantized)
        finally:
            self._shards.take_back(name)
        with self._shard(name):
            pass  # opened again at once: as before, no other process takes it meanwhile

    def close(self) -> None:
        """Close all collections; a temporary folder is removed."""
        with self._lock:
            errors = self._shards.close_all()
            if self._temporary is not None:
                self._temporary.cleanup()
        if errors:
            raise errors[0]

    def check_storage(self, storage: Storage) -> None:
        """Check that this engine can keep vectors so: it has neither shards nor copies."""
        super().check_storage(storage)
        storage.require_embeddable()

    def _create(
        self,
        name: str,
        shape: Shape,
        keyword_indexes: list[str],
        documents: dict[str, Any],
        storage: Storage,
    ) -> None:
        self.ensure_space(name, 0)
        config = to_config(shape, storage, quantized=storage.quantization == INT8)
        # The folder of that name may be in use still, by what an alias hid.
        folder = f"{name}-{uuid.uuid4().hex[:8]}" if name in self._aliases.read() else name
        hidden = self.root / f"{_HIDDEN[0]}{name}-{uuid.uuid4().hex}"
        if folder == name and (self.root / name).exists() and not self.exists(name):
            raise StorageError(
                f"{self.root / name} is in the way: it holds no {_DESCRIPTION}, so it is no "
                "collection, or what is left of one. Move it away or remove it, then run the same "
                "again"
            )
        with self._lock, storage_errors(f"make a collection in {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            try:
                (hidden / _DOCUMENTS).mkdir(parents=True)
                with guarded(f"make collection {name!r}"):
                    shard = edge.EdgeShard.create(str(hidden / SHARD), config)
                    for field in keyword_indexes:
                        shard.update(
                            edge.UpdateOperation.create_field_index(
                                field, edge.PayloadSchemaType.Keyword
                            )
                        )
                    shard.close()
                for key, value in documents.items():
                    write_atomically(hidden / _DOCUMENTS / f"{key}.json", sealed(value))
                write_atomically(hidden / _DESCRIPTION, sealed(to_description(shape)))
                rename(hidden, self.root / folder)
                if folder != name:
                    self._aliases.change({name: folder})
            except OSError:
                if self.exists(name):  # made by another process meanwhile
                    raise CollectionExists(
                        f"collection {name!r} exists already at {self.location}"
                    ) from None
                raise
            finally:
                shutil.rmtree(hidden, ignore_errors=True)

    def _delete(self, name: str) -> None:
        with self._lock, storage_errors(f"delete collection {name!r} at {self.location}"):
            try:
                with self._shard(name):
                    pass
            except CollectionLocked:
                raise
            except EngineError:
                pass  # damaged: all the more reason to let the user be rid of it
            name = self.resolve(name)
            self._shards.close(name)
            hidden = self.root / f"{_HIDDEN[1]}{name}-{uuid.uuid4().hex}"
            (self.root / name).rename(hidden)
            self._shapes.pop(name, None)
            self._storages.pop(name, None)
            there = self.collections()
            # An alias of nothing stays where it hides a folder, which goes by another name.
            gone = [
                alias
                for alias, real in self._aliases.read().items()
                if real not in there and alias not in there
            ]
            if gone:
                self._aliases.change(dict.fromkeys(gone))
            shutil.rmtree(hidden)

    def _shape(self, name: str) -> Shape:
        name = self.resolve(name)
        if name not in self._shapes:
            self.require(name)
            path = self.root / name / _DESCRIPTION
            row = read_sealed(path, name, bare="dimensions")
            try:
                self._shapes[name] = from_description(row)
            except (InputError, KeyError, AttributeError, TypeError, ValueError) as error:
                raise StorageError(
                    f"{path} is damaged ({error!s:.200}): {build_again(name)}"
                ) from None
        return self._shapes[name]

    def _upsert(self, name: str, points: Sequence[Point]) -> None:
        batch = [to_point(point) for point in points]
        with self._shard(name, writes=True) as shard:
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
        params = to_params(self._storage(self.resolve(name)), exact=exact)
        requests = [
            to_query(vector, each, limit=limit, where=conditions, params=params, payload=payload)
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
    def _shard(self, name: str, *, writes: bool = False) -> Iterator[edge.EdgeShard]:
        """The open shard of a collection, held for one call."""
        with self._shards.held(), self._shards.open(self.resolve(name), writes=writes) as shard:
            yield shard

    def _document(self, name: str, key: str) -> Path:
        return self.root / name / _DOCUMENTS / f"{key}.json"

    def _sweep(self) -> None:
        """Remove what creations and deletions that were killed long ago have left."""
        for path in self.root.iterdir():
            if not path.name.startswith(_HIDDEN):
                continue
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
