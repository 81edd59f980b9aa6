"""The interface of all engines, and the checks that all of them share.

What an engine mishandles is caught here, before any engine sees it, so that all of them accept
and refuse the same. An engine implements the methods with a leading underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.engine.names import Pinned, check_collection_name, listed
from xqg_qdrant.engine.points import Point, ScoredPoint, check_points, ranked
from xqg_qdrant.engine.storage import STORAGE, Storage
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import CollectionExists, CollectionNotFound, EngineError, InputError
from xqg_qdrant.fusion import Vector
from xqg_qdrant.hybrid import DEPTH, fuse_rankings
from xqg_qdrant.lexical import SparseVector

MAX_LIMIT = 10_000
"""Most hits of one search."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What an engine knows of a collection.

    Attributes:
        points: how many there are.
        indexed: how many vectors are in an HNSW graph; the rest is scanned.
        shape: of its vectors.
    """

    points: int
    indexed: int
    shape: Shape

    @property
    def dimensions(self) -> Mapping[str, int]:
        """Of each dense vector."""
        return self.shape.dimensions


class Engine(ABC):
    """Collections of points at one location.

    Safe to share between threads. Closing it is a duty; ``with`` does it.
    """

    location: str
    alias_may_hide: ClassVar[bool] = False
    """An alias may have the name of a collection, which then goes by other names alone."""
    _storages: dict[str, Storage]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What went wrong in the block must not be hidden by what then goes wrong in closing.
        with suppress(EngineError) if error is not None else nullcontext():
            self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"

    @abstractmethod
    def collections(self) -> list[str]:
        """The names of all collections themselves, sorted; see also :meth:`names`.

        Raises:
            EngineUnavailable: the server cannot be reached.
        """

    def names(self) -> list[str]:
        """What users call the collections, sorted: an alias in place of what was built for it."""
        return listed(self.collections(), self.aliases())

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a collection of that name, or an alias."""

    @abstractmethod
    def aliases(self) -> dict[str, str]:
        """Each alias with the collection that it stands for."""

    @abstractmethod
    def change_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Let names stand for collections, or (None) for nothing, all in one step.

        Where :attr:`alias_may_hide` is False, an alias cannot have the name of a collection.

        Raises:
            EngineError: the engine refused; nothing was changed.
        """

    def resolve(self, name: str) -> str:
        """The collection itself that a name stands for now.

        What is returned stays with that collection when the name moves on to another, so that
        several calls meet the same one.
        """
        return name if isinstance(name, Pinned) else Pinned(self.aliases().get(name, name))

    def create(
        self,
        name: str,
        dimensions: Mapping[str, int],
        keyword_indexes: Sequence[str] = (),
        documents: Mapping[str, Any] | None = None,
        *,
        multivectors: Iterable[str] = (),
        sparse: Iterable[str] = (),
        storage: Storage | None = None,
    ) -> None:
        """Make a collection, whole or not at all.

        Args:
            name: letters, digits, ``.``, ``_`` and ``-``, at most 128 of them.
            dimensions: of each named vector; all are compared by the dot product.
            multivectors: those of them that are multivectors, see :class:`Shape`.
            sparse: names of sparse vectors, see :class:`Shape`.
            keyword_indexes: payload fields to index.
            documents: JSON objects to keep with the collection, see :meth:`write_document`.
            storage: how vectors are kept; when None, as ``documents`` has it, else the defaults.

        Raises:
            CollectionExists: there is one of that name.
            InputError: the name, a dimension or a setting is not possible.
            StorageError: the disk is full or read-only.
        """
        check_collection_name(name)
        shape = Shape(dict(dimensions), frozenset(multivectors), frozenset(sparse))
        shape.check()
        if self.exists(name):
            raise CollectionExists(f"collection {name!r} exists already at {self.location}")
        kept = dict(documents or {})
        if storage is None:
            storage = Storage.from_json(kept.get(STORAGE, {}), name)
        self.check_storage(storage)
        storage = storage.resolved()
        kept[STORAGE] = storage.to_json()
        self._create(name, shape, list(keyword_indexes), kept, storage)

    def check_storage(self, storage: Storage) -> None:
        """Check that this engine can keep vectors so.

        Raises:
            InputError: a setting is not possible, here or at all.
        """
        storage.check()

    def storage(self, name: str) -> Storage:
        """The settings that a collection was made with, all filled in.

        Raises:
            CollectionNotFound: there is no such collection.
            StorageError: they are damaged.
        """
        return Storage.from_json(self.read_document(name, STORAGE), name)

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
            there = ", ".join(self.names()) or "none"
            raise CollectionNotFound(
                f"no collection {name!r} at {self.location} (collections there: {there})"
            )

    @abstractmethod
    def info(self, name: str) -> CollectionInfo:
        """Counts and shape of a collection."""

    @abstractmethod
    def documents(self, name: str) -> dict[str, dict[str, Any]]:
        """All JSON objects kept with the collection, by their keys."""

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
        check_points(points, self._shape(name))
        self._upsert(name, points)

    def search(
        self,
        name: str,
        vectors: Sequence[AnyVector],
        *,
        using: Sequence[str],
        limit: int = 10,
        where: Sequence[Condition] = (),
        exact: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Score points by the dot product, for several questions at once.

        Args:
            name: the collection.
            vectors: of the questions, each float32 (dimension,), or sparse.
            using: the named vector that scores each question: by its best row where it is a
                multivector; where it is sparse, points that share no index are no hits.
            limit: most points per question.
            where: conditions that all must hold.
            exact: compare with every point, never by HNSW.

        Returns:
            For each question its points, best first; ties by point id.

        Raises:
            InputError: a vector does not fit, or limit is out of range.
            EngineError: the engine failed.
        """
        self._check_search(name, vectors, using, limit)
        if not vectors:
            return []
        asked = self._asked(name, vectors, using)
        found = self._search(name, asked, using, limit, where, exact, payload=True)
        return [ranked(points) for points in found]

    def search_hybrid(
        self,
        name: str,
        vectors: Sequence[Vector],
        sparse_vectors: Sequence[SparseVector],
        *,
        perfect: Sequence[float],
        using: Sequence[str],
        sparse: str,
        limit: int = 10,
        where: Sequence[Condition] = (),
        exact: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Score points by a dense and a sparse vector, and fuse both rankings.

        Both sides of all questions go to the engine in one batch, without payloads; those of the
        hits are read afterwards. See :func:`xqg_qdrant.hybrid.fuse_rankings`.

        Args:
            name: the collection.
            vectors: of the questions, each float32 (dimension,).
            sparse_vectors: of the same questions; one may be empty.
            perfect: the dense score of a perfect match of each question.
            using: the named dense vector that scores each question.
            sparse: the named sparse vector that scores all.
            limit: as in :meth:`search`.
            where: as in :meth:`search`.
            exact: as in :meth:`search`; the sparse side always is.

        Returns:
            For each question its points, best first; ties by dense score, then by point id.

        Raises:
            InputError: a vector does not fit, or limit is out of range.
            EngineError: the engine failed.
        """
        both: list[AnyVector] = [*vectors, *sparse_vectors]
        names = [*using, *[sparse] * len(sparse_vectors)]
        self._check_search(name, both, names, limit)
        if len(vectors) != len(sparse_vectors):
            raise InputError(f"{len(vectors)} vectors but {len(sparse_vectors)} sparse ones")
        if len(vectors) != len(perfect):
            raise InputError(f"{len(vectors)} vectors but {len(perfect)} scores of perfect matches")
        if not vectors:
            return []
        asking = [place for place, sparse_vector in enumerate(sparse_vectors) if len(sparse_vector)]
        found = self._search(
            name,
            [*self._asked(name, vectors, using), *(sparse_vectors[place] for place in asking)],
            [*using, *[sparse] * len(asking)],
            max(limit, DEPTH),
            where,
            exact,
            payload=False,
        )
        rankings = [[(point.id, point.score) for point in ranked(each)] for each in found]
        lexical = dict(zip(asking, rankings[len(vectors) :], strict=True))
        fused = [
            fuse_rankings(
                ranking,
                [hit for hit in lexical.get(place, ()) if hit[1] > 0.0],
                limit,
                perfect=perfect[place],
            )
            for place, ranking in enumerate(rankings[: len(vectors)])
        ]
        wanted = sorted({point for ranking in fused for point, _ in ranking})
        payloads = self._payloads(name, wanted) if wanted else {}
        return [
            [
                ScoredPoint(point, score, payloads[point])
                for point, score in ranking
                if point in payloads  # one deleted meanwhile is gone
            ]
            for ranking in fused
        ]

    @abstractmethod
    def count(self, name: str, where: Sequence[Condition] = ()) -> int:
        """How many points fulfil all conditions, exactly."""

    @abstractmethod
    def scroll(
        self,
        name: str,
        *,
        with_vectors: bool = False,
        batch_size: int = 256,
        start: str | None = None,
    ) -> Iterator[Point]:
        """All points, or those from the id ``start`` on, in the order of their ids."""

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

    def _storage(self, name: str) -> Storage:
        """The settings of a collection, read once; searches need them."""
        if name not in self._storages:
            self._storages[name] = self.storage(name)
        return self._storages[name]

    def _check_search(
        self, name: str, vectors: Sequence[AnyVector], using: Sequence[str], limit: int
    ) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise InputError(f"limit is {limit!r}: give a number from 1 to {MAX_LIMIT:,}")
        if len(vectors) != len(using):
            raise InputError(f"{len(vectors)} vectors but {len(using)} names of vectors")
        shape = self._shape(name)
        for vector, vector_name in zip(vectors, using, strict=True):
            shape.check_query_vector(vector, vector_name)

    def _asked(
        self, name: str, vectors: Sequence[AnyVector], using: Sequence[str]
    ) -> list[AnyVector]:
        """The vectors of questions, a multivector asked by one row."""
        rows = self._shape(name).multivectors
        return [
            vector[None] if each in rows and isinstance(vector, np.ndarray) else vector
            for vector, each in zip(vectors, using, strict=True)
        ]

    @abstractmethod
    def _create(
        self,
        name: str,
        shape: Shape,
        keyword_indexes: list[str],
        documents: dict[str, Any],
        storage: Storage,
    ) -> None: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    @abstractmethod
    def _shape(self, name: str) -> Shape: ...

    @abstractmethod
    def _upsert(self, name: str, points: Sequence[Point]) -> None: ...

    @abstractmethod
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
    ) -> list[list[ScoredPoint]]: ...

    @abstractmethod
    def _payloads(self, name: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]: ...
