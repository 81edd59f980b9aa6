"""Collections from one place to another: points with vectors and payloads, and what is kept beside.

A copy is built as :mod:`xqg_qdrant.loader.replacing` builds: under a name of its own, and it takes
the name that was asked for once it is whole and was compared with its source. A run that was cut
off goes on when the same is called again.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import numpy as np

from xqg_qdrant.collection import KEYWORD_INDEXES
from xqg_qdrant.corpus.jsonl import json_digest
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.storage import STORAGE, Storage
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import CollectionExists, EngineError, InputError, PartialIngest, StorageError
from xqg_qdrant.lexical import SparseVector
from xqg_qdrant.loader.documents import BUILD, COPY, STATISTICS, read_manifest
from xqg_qdrant.loader.journal import JOURNAL, Journal
from xqg_qdrant.loader.replacing import Replacement, check_flags
from xqg_qdrant.records import Progress

SAMPLE = 32
"""Points of a copy that are compared with their source's, evenly spread."""

BATCH_POINTS = 256
BATCH_BYTES = 16 * 2**20
CHECKPOINT_SECONDS = 2.0


class Source(ABC):
    """A collection to copy.

    Attributes:
        description: what errors call it.
        shape: of its vectors.
        documents: what is kept with it.
        total: how many points it has.
    """

    description: str
    shape: Shape
    documents: Mapping[str, Mapping[str, Any]]
    total: int

    @abstractmethod
    def points(self, start: str | None = None) -> Iterator[Point]:
        """All points with their vectors, or those from an id on, in the order of their ids."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change when the collection is loaded anew or added to."""
        row = [self.shape.names, self.documents, self.total]
        return json_digest(row)


class CollectionSource(Source):
    """A collection of an engine.

    Raises:
        CollectionNotFound: there is none of that name.
        CollectionMismatch: xqg-qdrant did not make it.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        engine.require(name)
        self.engine = engine
        self.name = engine.resolve(name)  # one collection throughout
        self.description = f"collection {name!r} at {engine.location}"
        read_manifest(engine, self.name)
        info = engine.info(self.name)
        self.shape, self.total = info.shape, info.points
        self.documents = {
            key: row for key, row in engine.documents(self.name).items() if key not in (COPY, BUILD)
        }

    def points(self, start: str | None = None) -> Iterator[Point]:
        """All points with their vectors, in the order of their ids."""
        return self.engine.scroll(
            self.name, with_vectors=True, batch_size=BATCH_POINTS, start=start
        )


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did.

    Attributes:
        collection: its name.
        location: of the copy.
        source: what was copied.
        points: in the copy.
        resumed_at: points that an earlier run had copied already; all, where there was nothing
            to do.
        previous: the name under which what was replaced is kept; None where nothing was.
        seconds: that this run took.
    """

    collection: str
    location: str
    source: str
    points: int
    resumed_at: int
    previous: str | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def copy(
    source: Source,
    engine: Engine,
    name: str,
    *,
    replace: bool = False,
    drop_previous: bool = False,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> CopyReport:
    """Copy a collection to an engine.

    Args:
        source: what to copy.
        engine: where to.
        name: of the copy.
        replace: let it take the name of another collection, which is kept as ``NAME.previous``.
        drop_previous: with ``replace``, destroy a ``NAME.previous`` that is there already.
        restart: begin a copy that was cut off again.
        progress: called after every batch.

    Raises:
        CollectionExists: there is another collection of that name; or, with ``replace``, an
            earlier one is kept still, or the name cannot move.
        UnfinishedIngest: another copy or replacement of that name was cut off.
        PartialIngest: an engine failed on the way; the same call goes on.
        EngineError: the copy is not the same as its source.
    """
    began = time.monotonic()
    check_flags(replace=replace, drop_previous=drop_previous)
    if not replace and engine.exists(name):
        if differing := difference(source, engine, engine.resolve(name)):
            raise CollectionExists(
                f"collection {name!r} at {engine.location} exists already, and {differing}: copy "
                "under another name, or let the copy take this one with --replace (replace=True), "
                f"which keeps what is there as {name}.previous"
            )
        resumed_at, previous, target = source.total, None, engine.resolve(name)
    else:
        plan = Replacement.plan(
            engine,
            name,
            f"copy:{source.fingerprint}",
            lambda live: difference(source, engine, live) is None,
            restart=restart,
            drop_previous=drop_previous,
        )
        resumed_at, previous, target = source.total, None, plan.target
        if not plan.in_place:
            copying = _Copying(source, engine, plan, progress)
            resumed_at = copying.run()
            previous = plan.swap()
    return CopyReport(
        collection=name,
        location=engine.location,
        source=source.description,
        points=engine.count(target),
        resumed_at=resumed_at,
        previous=previous,
        seconds=time.monotonic() - began,
    )


class _Copying:
    """The state of one copy."""

    def __init__(
        self,
        source: Source,
        engine: Engine,
        plan: Replacement,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.source = source
        self.engine = engine
        self.plan = plan
        self.name = plan.target
        self.progress = progress
        self.done = 0
        self.last: str | None = None
        self._written_at = time.monotonic()

    def run(self) -> int:
        """Copy what is left to do, and compare; how many were copied before."""
        if self.engine.exists(self.name):
            self._resume()
        else:
            self._create()
        resumed_at = self.done
        try:
            self._tell("copying")
            for batch, size in self._batches():
                self.engine.ensure_space(self.name, size)
                self.engine.upsert(self.name, batch)
                self.done, self.last = self.done + len(batch), batch[-1].id
                if time.monotonic() - self._written_at > CHECKPOINT_SECONDS:
                    self._checkpoint()
                self._tell("copying")
            self._checkpoint()
            self._tell("optimizing")
            self.engine.optimize(self.name)
            self._tell("verifying")
            self._finish()
        except EngineError as error:
            if isinstance(error, _Differing):
                raise
            raise PartialIngest(
                f"{error}\n{self.done:,} of {self.source.total:,} points are copied; run the same "
                "again to go on",
                done=self.done,
                total=self.source.total,
            ) from error
        return resumed_at

    def _create(self) -> None:
        shape = self.source.shape
        # Until the copy is whole it looks like an ingest that was cut off.
        documents = {
            key: dict(row)
            for key, row in self.source.documents.items()
            if key not in (STATISTICS, STORAGE)
        }
        storage = _storage_of(self.source.documents, self.name)
        try:
            self.engine.check_storage(storage)
        except InputError:
            storage = storage.embeddable()
        self.engine.create(
            self.name,
            shape.dimensions,
            KEYWORD_INDEXES,
            documents
            | {JOURNAL: self._journal().to_json(), COPY: self._state()}
            | self.plan.documents,
            multivectors=shape.multivectors,
            sparse=shape.sparse,
            storage=storage,
        )

    def _resume(self) -> None:
        self.engine.ensure_indexes(self.name, KEYWORD_INDEXES)
        state = self.engine.read_document(self.name, COPY) or {}
        try:
            done, last = int(state.get("done", 0)), state.get("last")
            last = None if last is None else str(UUID(last))
        except (TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"the record of the copy {self.name!r} is damaged ({error!s:.200}): begin "
                "it again with --restart (restart=True)"
            ) from None
        if self.engine.count(self.name) >= done:
            self.done, self.last = done, last

    def _batches(self) -> Iterator[tuple[list[Point], int]]:
        """Points with about the bytes that they take."""
        batch: list[Point] = []
        size = 0
        for point in self.source.points(self.last):
            if point.id == self.last:
                continue
            batch.append(point)
            size += _bytes(point)
            if len(batch) == BATCH_POINTS or size > BATCH_BYTES:
                yield batch, size
                batch, size = [], 0
        if batch:
            yield batch, size

    def _finish(self) -> None:
        differing = _counted(self.source, self.engine, self.name) or _sampled(
            self.source, self.engine, self.name
        )
        if differing:
            raise _Differing(
                f"{self.name!r} at {self.engine.location} is not yet a copy of "
                f"{self.source.description}: {differing}. If that was written to meanwhile, run "
                "the same again; else begin again with --restart (restart=True)"
            )
        if statistics := self.source.documents.get(STATISTICS):
            self.engine.write_document(self.name, STATISTICS, statistics)
        journal = self.source.documents.get(JOURNAL) or self._journal(complete=True).to_json()
        self.engine.write_document(self.name, JOURNAL, journal)

    def _checkpoint(self) -> None:
        # First the points to the disk, then the word that they are there.
        self.engine.flush(self.name)
        self.engine.write_document(self.name, COPY, self._state())
        self.engine.write_document(self.name, JOURNAL, self._journal().to_json())
        self._written_at = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {"source": self.source.fingerprint, "done": self.done, "last": self.last}

    def _journal(self, *, complete: bool = False) -> Journal:
        total = max(self.source.total, self.done)
        return Journal(
            f"copy:{self.source.fingerprint}", BATCH_POINTS, total, self.done, True, complete
        )

    def _tell(self, stage: str) -> None:
        if self.progress is not None:
            self.progress(Progress(stage, self.done, self.source.total))


class _Differing(EngineError):
    """A copy is not the same as its source."""


def difference(source: Source, engine: Engine, name: str) -> str | None:
    """In what a collection is not a copy of a source: documents, shape, points; None if it is.

    Documents are read first, since another process may have the collection itself open. Points
    are compared by their number, and by :data:`SAMPLE` of them with all their vectors.
    """
    there = {key: row for key, row in engine.documents(name).items() if key not in (COPY, BUILD)}
    stored, wanted = (_storage_of(rows, name).embeddable() for rows in (there, source.documents))
    if stored != wanted:
        return f"its {STORAGE} is another one"
    for key in sorted({*there, *source.documents} - {STORAGE}):
        if there.get(key) != source.documents.get(key):
            return f"its {key} is another one"
    if engine.info(name).shape != source.shape:
        return "it has other vectors"
    return _counted(source, engine, name) or _sampled(source, engine, name)


def _storage_of(documents: Mapping[str, Mapping[str, Any]], name: str) -> Storage:
    return Storage.from_json(documents.get(STORAGE), name)


def _counted(source: Source, engine: Engine, name: str) -> str | None:
    count = engine.count(name)
    return None if count == source.total else f"it has {count:,} points, not {source.total:,}"


def _sampled(source: Source, engine: Engine, name: str) -> str | None:
    """Compare points at even distances; ids are hashes, so they are spread evenly."""
    for number in range(SAMPLE):
        start = str(UUID(int=number * 2**128 // SAMPLE))
        one = next(source.points(start), None)
        other = next(engine.scroll(name, with_vectors=True, batch_size=1, start=start), None)
        if one is None or other is None:
            if one is not other:
                return f"it has other points from {start} on"
            continue
        if one.id != other.id:
            return f"it has no point {one.id}" if one.id < other.id else f"point {other.id} is new"
        if dict(one.payload) != dict(other.payload):
            return f"point {one.id} has another payload"
        for key in sorted({*one.vectors, *other.vectors}):
            if not _equal(one.vectors.get(key), other.vectors.get(key)):
                return f"point {one.id} has another vector {key!r}"
    return None


def _equal(one: AnyVector | None, other: AnyVector | None) -> bool:
    if isinstance(one, SparseVector) and isinstance(other, SparseVector):
        first, second = np.argsort(one.indices), np.argsort(other.indices)
        return np.array_equal(one.indices[first], other.indices[second]) and np.array_equal(
            one.values[first], other.values[second]
        )
    return (
        isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)
    )


def _bytes(point: Point) -> int:
    payload = len(json.dumps(point.payload, ensure_ascii=False).encode())
    return sum(vector.nbytes for vector in point.vectors.values()) + 4 * payload
