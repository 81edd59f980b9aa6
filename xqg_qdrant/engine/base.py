"""The interface of all engines, and the checks that all of them share.

What an engine mishandles is caught here, before any engine sees it, so that all of them accept
and refuse the same. An engine implements the methods with a leading underscore.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np

from xqg_qdrant.corpus.checks import check_payload
from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.errors import CollectionExists, CollectionNotFound, InputError
from xqg_qdrant.fusion import Vector

MAX_LIMIT = 10_000
"""Most hits of one search."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Point:
    """A point: a UUID, a payload, and float32 vectors by name."""

    id: str
    payload: Mapping[str, Any]
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A point found, with the dot product of its vector and the question's."""

    id: str
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What an engine knows of a collection.

    Attributes:
        points: how many there are.
        indexed: how many vectors are in an HNSW graph; the rest is scanned.
        dimensions: of each named vector.
    """

    points: int
    indexed: int
    dimensions: Mapping[str, int]


class Engine(ABC):
    """Collections of points at one location.

    Safe to share between threads. Closing it is a duty; ``with`` does it.
    """

    location: str

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"

    @abstractmethod
    def collections(self) -> list[str]:
        """The names of all collections, sorted.

        Raises:
            EngineUnavailable: the server cannot be reached.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a collection of that name."""

    def create(
        self,
        name: str,
        dimensions: Mapping[str, int],
        keyword_indexes: Sequence[str] = (),
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a collection, whole or not at all.

        Args:
            name: letters, digits, ``.``, ``_`` and ``-``, at most 128 of them.
            dimensions: of each named vector; all are compared by the dot product.
            keyword_indexes: payload fields to index.
            documents: JSON objects to keep with the collection, see :meth:`write_document`.

        Raises:
            CollectionExists: there is one of that name.
            InputError: the name or a dimension is not possible.
            StorageError: the disk is full or read-only.
        """
        check_collection_name(name)
        for vector, dimension in dimensions.items():
            if not 1 <= dimension <= 65_536:
                raise InputError(f"vector {vector!r} has dimension {dimension}: 1 to 65536 go")
        if self.exists(name):
            raise CollectionExists(f"collection {name!r} exists already at {self.location}")
        self._create(name, dict(dimensions), list(keyword_indexes), dict(documents or {}))

    def delete(self, name: str) -> None:
        """Destroy a collection and all that is in it.

        Raises:
            CollectionNotFound: there is none of that name.
        """
        self.require(name)
        self._delete(name)

    def require(self, name: str) -> None:
        """Check that a collection exists.

        Raises:
            CollectionNotFound: it does not; the message lists those that do.
        """
        check_collection_name(name)
        if not self.exists(name):
            there = ", ".join(self.collections()) or "none"
            raise CollectionNotFound(
                f"no collection {name!r} at {self.location} (collections there: {there})"
            )

    @abstractmethod
    def info(self, name: str) -> CollectionInfo:
        """Counts and shape of a collection."""

    @abstractmethod
    def read_document(self, name: str, key: str) -> dict[str, Any] | None:
        """A JSON object kept with the collection, None if there is none under that key."""

    @abstractmethod
    def write_document(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object with the collection; it replaces the one under that key as a whole."""

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """Write points, all of them or (when it raises) possibly some; a rerun heals that.

        On return the engine has acknowledged them: they survive the end of this process.

        Raises:
            InputError: a point is malformed; none was written.
            EngineError: the engine failed.
        """
        if not points:
            return
        dimensions = self._dimensions(name)
        seen: set[str] = set()
        for point in points:
            check_point(point, dimensions)
            if point.id in seen:
                raise InputError(f"point {point.id} stands twice in one batch: keep one of them")
            seen.add(point.id)
        self._upsert(name, points)

    def search(
        self,
        name: str,
        vectors: Sequence[Vector],
        *,
        using: Sequence[str],
        limit: int = 10,
        where: Sequence[Condition] = (),
        exact: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Score points by the dot product, for several questions at once.

        Args:
            name: the collection.
            vectors: of the questions, each float32 (dimension,).
            using: the named vector that scores each question.
            limit: most points per question.
            where: conditions that all must hold.
            exact: compare with every point, never by HNSW.

        Returns:
            For each question its points, best first; ties by point id.

        Raises:
            InputError: a vector does not fit, or limit is out of range.
            EngineError: the engine failed.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise InputError(f"limit is {limit!r}: give a number from 1 to {MAX_LIMIT:,}")
        if len(vectors) != len(using):
            raise InputError(f"{len(vectors)} vectors but {len(using)} names of vectors")
        dimensions = self._dimensions(name)
        for vector, vector_name in zip(vectors, using, strict=True):
            check_vector(vector, vector_name, dimensions)
        if not vectors:
            return []
        found = self._search(name, vectors, using, limit, where, exact)
        return [sorted(points, key=lambda point: (-point.score, point.id)) for points in found]

    @abstractmethod
    def count(self, name: str, where: Sequence[Condition] = ()) -> int:
        """How many points fulfil all conditions, exactly."""

    @abstractmethod
    def scroll(
        self, name: str, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[Point]:
        """All points, in the order of their ids."""

    def ensure_space(self, name: str, incoming: int) -> None:  # noqa: B027 (most need nothing)
        """Check that there is room for points to come; a server looks after its own disk.

        Args:
            name: the collection.
            incoming: bytes of vectors and payloads that are about to be written.

        Raises:
            StorageError: there is not, with both figures.
        """

    def ensure_indexes(self, name: str, keyword_indexes: Sequence[str]) -> None:  # noqa: B027
        """Make payload indexes that a creation cut off half-way may have left out."""

    @abstractmethod
    def flush(self, name: str) -> None:
        """Bring all that was acknowledged to the disk itself, so that it survives a power cut."""

    @abstractmethod
    def optimize(self, name: str) -> None:
        """Merge and index what was loaded."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; may be called again."""

    @abstractmethod
    def _create(
        self,
        name: str,
        dimensions: dict[str, int],
        keyword_indexes: list[str],
        documents: dict[str, Any],
    ) -> None: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    @abstractmethod
    def _dimensions(self, name: str) -> Mapping[str, int]: ...

    @abstractmethod
    def _upsert(self, name: str, points: Sequence[Point]) -> None: ...

    @abstractmethod
    def _search(
        self,
        name: str,
        vectors: Sequence[Vector],
        using: Sequence[str],
        limit: int,
        where: Sequence[Condition],
        exact: bool,
    ) -> list[list[ScoredPoint]]: ...


def check_collection_name(name: str) -> str:
    """Return the name of a collection; it becomes a folder or a part of a URL.

    Raises:
        InputError: it holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a collection: use up to 128 letters, digits, '.', '_' and '-', "
            "the first one a letter or a digit"
        )
    return name


def check_point(point: Point, dimensions: Mapping[str, int]) -> None:
    """Check a point before an engine sees it.

    Raises:
        InputError: the id is no UUID, the payload no plain JSON, or the vectors are not exactly
            those of the collection, finite and of its dimensions.
    """
    if not isinstance(point.id, str):
        raise InputError(f"point id {point.id!r} is no string: give a UUID")
    try:
        canonical = str(UUID(point.id))
    except ValueError:
        raise InputError(f"point id {point.id!r} is no UUID") from None
    if canonical != point.id:
        raise InputError(f"point id {point.id!r}: write it as {canonical!r}")
    check_payload(point.payload)
    if point.vectors.keys() != dimensions.keys():
        raise InputError(
            f"point {point.id} has vectors {sorted(point.vectors)}, "
            f"the collection wants {sorted(dimensions)}"
        )
    for vector_name, vector in point.vectors.items():
        check_vector(vector, vector_name, dimensions)


def check_vector(vector: Vector, name: str, dimensions: Mapping[str, int]) -> None:
    """Check a vector before an engine sees it.

    Raises:
        InputError: the collection has no such vector, or it is not float32, of the right
            dimension and finite.
    """
    if name not in dimensions:
        raise InputError(f"the collection has no vector {name!r}, it has {sorted(dimensions)}")
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
        raise InputError(f"vector {name!r} must be a numpy array of float32")
    if vector.shape != (dimensions[name],):
        raise InputError(
            f"vector {name!r} has shape {vector.shape}, the collection wants ({dimensions[name]},)"
        )
    if not np.isfinite(vector).all():
        raise InputError(f"vector {name!r} holds NaN or infinity")
