"""The server engine: a Qdrant server or cluster through qdrant-client, gRPC preferred.

The same class runs qdrant-client's local mode (:meth:`ServerEngine.local`), for tests without a
server. Manifest and journal live in the collection's own metadata (Qdrant 1.16 and newer).
See https://qdrant.tech/documentation/.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from xqg_qdrant.engine.base import CollectionInfo, Engine
from xqg_qdrant.engine.connecting import connect
from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.engine.points import Point, ScoredPoint
from xqg_qdrant.engine.server_calls import (
    READ_PATIENCE_SECONDS,
    WRITE_PATIENCE_SECONDS,
    retrying,
    says_exists,
    translated,
)
from xqg_qdrant.engine.server_models import (
    from_params,
    from_record,
    from_scored,
    to_filter,
    to_point,
    to_quantization,
    to_query,
    to_search_params,
    to_sparse_config,
    to_vectors_config,
)
from xqg_qdrant.engine.storage import INT8, Storage
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import (
    AuthenticationError,
    CollectionExists,
    CollectionLocked,
    EngineError,
    InputError,
)
from xqg_qdrant.lexical import SparseVector

MAX_REQUEST_BYTES = 4 * 2**20
"""Aim of one upsert; Qdrant refuses requests over 32 MiB, and advises less than 5."""

MAX_POINT_BYTES = 30 * 2**20
_OPTIMIZE_SECONDS = 600.0
_SEARCH_BATCH = 64
_DOCUMENT_PREFIX = "xqg_"

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class ServerEngine(Engine):
    """Collections on a Qdrant server; safe to share between threads.

    Requests are tried up to ``ATTEMPTS`` times on transient failures, with exponential back-off
    and jitter, after the time the server asks for, and for so long at most as
    :mod:`xqg_qdrant.engine.server_calls` says. All of them may be repeated without harm: ids are
    those of the points, and a creation is looked after before it is called a failure.

    Args:
        client: a connected client.
        location: what errors call it; never holds the API key.
        local: the client is in local mode, which is not thread-safe.
    """

    def __init__(self, client: QdrantClient, location: str, *, local: bool = False) -> None:
        self.location = location
        self._client = client
        self._grpc = bool(getattr(client._client, "_prefer_grpc", False))
        self._shapes: dict[str, Shape] = {}
        self._storages = {}
        self._local = local  # which has neither indexes nor graphs
        self._lock: AbstractContextManager[Any] = threading.RLock() if local else nullcontext()

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        allow_insecure_api_key: bool = False,
        grpc_port: int = 6334,
    ) -> ServerEngine:
        """Connect to a server and see that it answers.

        Bulk data goes over gRPC where its port answers, over REST otherwise.

        Args:
            url: ``http(s)://HOST[:PORT]``; the port is 6333 when not given.
            api_key: sent with every request; it never appears in errors.
            allow_insecure_api_key: send it over plain HTTP to another machine too.
            grpc_port: of the same host.

        Raises:
            InputError: the URL is malformed, or the key would go to another machine unencrypted.
            EngineUnavailable: nothing answers, or the server is older than 1.16.
            AuthenticationError: the API key is wrong or missing.
        """
        client = connect(
            url,
            api_key=api_key,
            allow_insecure_api_key=allow_insecure_api_key,
            grpc_port=grpc_port,
        )
        return cls(client, url)

    @classmethod
    def local(cls, path: Path | None = None) -> Self:
        """qdrant-client's local mode, in memory or in a folder: for tests, not for work.

        Raises:
            CollectionLocked: another client has the folder open.
        """
        try:
            client = QdrantClient(":memory:") if path is None else QdrantClient(path=str(path))
        except RuntimeError as error:
            raise CollectionLocked(f"{path} is open in another client: {error}") from None
        return cls(client, "local mode" if path is None else str(path), local=True)

    def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        response = self._call(lambda: self._client.get_collections())
        return sorted(each.name for each in response.collections)

    def exists(self, name: str) -> bool:
        """Whether there is a collection of that name, or an alias."""
        return self._call(lambda: self._client.collection_exists(name))

    def aliases(self) -> dict[str, str]:
        """Each alias with the collection that it stands for."""
        response = self._call(lambda: self._client.get_aliases())
        return {each.alias_name: each.collection_name for each in response.aliases}

    def resolve(self, name: str) -> str:
        """The collection itself that a name stands for now; see :class:`Engine`."""
        try:
            return super().resolve(name)
        except AuthenticationError:
            return name  # a key for some collections alone may not be told of aliases

    def change_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Let names stand for collections; one request, which a server carries out as a whole.

        See https://qdrant.tech/documentation/concepts/collections/#switch-collection.
        """
        there = self.aliases()
        operations: list[models.AliasOperations] = []
        # New names first: were the server to stop in the middle, what they stand for has one.
        for alias, target in sorted(changes.items(), key=lambda change: change[0] in there):
            if alias in there:
                drop = models.DeleteAlias(alias_name=alias)
                operations.append(models.DeleteAliasOperation(delete_alias=drop))
            if target is not None:
                make = models.CreateAlias(collection_name=str(target), alias_name=alias)
                operations.append(models.CreateAliasOperation(create_alias=make))
        if operations:
            self._change(lambda: self._client.update_collection_aliases(operations))
        for alias in changes:
            self._shapes.pop(alias, None)
            self._storages.pop(alias, None)

    def info(self, name: str) -> CollectionInfo:
        """Counts and shape of a collection."""
        self.require(name)
        response = self._call(lambda: self._client.get_collection(name))
        return CollectionInfo(
            points=self.count(name),
            indexed=response.indexed_vectors_count or 0,
            shape=self._shape(name),
        )

    def documents(self, name: str) -> dict[str, dict[str, Any]]:
        """All JSON objects kept with the collection, by their keys."""
        self.require(name)
        return {
            key.removeprefix(_DOCUMENT_PREFIX): dict(value)
            for key, value in sorted(self._metadata(name).items())
            if key.startswith(_DOCUMENT_PREFIX) and isinstance(value, dict)
        }

    def read_document(self, name: str, key: str) -> dict[str, Any] | None:
        """A JSON object kept in the collection's metadata."""
        self.require(name)
        value = self._metadata(name).get(_DOCUMENT_PREFIX + key)
        return dict(value) if isinstance(value, dict) else None

    def write_document(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object in the collection's metadata; other keys stay as they are."""
        metadata = {_DOCUMENT_PREFIX + key: dict(value)}
        self._change(lambda: self._client.update_collection(name, metadata=metadata))

    def count(self, name: str, where: Sequence[Condition] = ()) -> int:
        """How many points fulfil all conditions, exactly."""
        self.require(name)
        response = self._call(
            lambda: self._client.count(name, count_filter=to_filter(where), exact=True)
        )
        return response.count

    def scroll(
        self,
        name: str,
        *,
        with_vectors: bool = False,
        batch_size: int = 256,
        start: str | None = None,
    ) -> Iterator[Point]:
        """All points, or those from the id ``start`` on, in the order of their ids."""
        self.require(name)
        offset: Any = start
        while True:

            def page(start: Any = offset) -> tuple[list[models.Record], Any]:
                return self._client.scroll(
                    name,
                    offset=start,
                    limit=batch_size,
                    with_payload=True,
                    with_vectors=with_vectors,
                )

            records, offset = self._call(page)
            yield from map(from_record, records)
            if offset is None:
                return

    def ensure_indexes(self, name: str, keyword_indexes: Sequence[str]) -> None:
        """Make payload indexes; those that exist already stay as they are."""
        for field in () if self._local else keyword_indexes:

            def create(path: str = field) -> object:
                return self._client.create_payload_index(
                    name, path, field_schema=models.PayloadSchemaType.KEYWORD, wait=True
                )

            self._change(create)

    def flush(self, name: str) -> None:
        """Nothing to do: a server's write-ahead log holds what it acknowledged."""

    def optimize(self, name: str) -> None:
        """Let the server build the HNSW graphs that were put off while loading, and wait for it."""
        storage = self.storage(name)
        config = models.OptimizersConfigDiff(indexing_threshold=storage.indexing_threshold)
        quantized = storage.quantizes(self.count(name))
        self._change(
            lambda: self._client.update_collection(
                name,
                optimizers_config=config,
                # None leaves it as it is.
                quantization_config=to_quantization(storage) if quantized else None,
            )
        )
        deadline = time.monotonic() + _OPTIMIZE_SECONDS
        wait = 0.1
        while True:
            state = self._call(lambda: self._client.get_collection(name))
            if state.status in (models.CollectionStatus.GREEN, models.CollectionStatus.GREY):
                return
            if state.status == models.CollectionStatus.RED:
                raise EngineError(
                    f"the server at {self.location} cannot index {name!r}: {state.optimizer_status}"
                )
            if time.monotonic() > deadline:
                log.warning("%s is still being indexed; searches work, more slowly", name)
                return
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _create(
        self,
        name: str,
        shape: Shape,
        keyword_indexes: list[str],
        documents: dict[str, Any],
        storage: Storage,
    ) -> None:
        metadata = {_DOCUMENT_PREFIX + key: value for key, value in documents.items()}
        metadata = json.loads(json.dumps(metadata))  # as it will come back
        attempts = 0

        def create() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                self._client.create_collection(
                    name,
                    vectors_config=to_vectors_config(shape, storage),
                    sparse_vectors_config=to_sparse_config(shape),
                    # 0 puts off the building of graphs until optimize().
                    optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
                    hnsw_config=models.HnswConfigDiff(
                        m=storage.hnsw_m, ef_construct=storage.hnsw_ef_construct
                    ),
                    quantization_config=to_quantization(storage)
                    if storage.quantization == INT8
                    else None,
                    shard_number=storage.shards,
                    replication_factor=storage.replication_factor,
                    write_consistency_factor=storage.write_consistency_factor,
                    metadata=metadata,
                )
            except (UnexpectedResponse, grpc.RpcError) as error:
                if says_exists(error):
                    return False
                raise
            return True

        if not self._change(create):
            # An earlier attempt may have been carried out, and its answer been lost.
            there = self._metadata(name) if attempts > 1 else {}
            if not metadata or there != metadata:
                raise CollectionExists(f"collection {name!r} exists already at {self.location}")
        self.ensure_indexes(name, keyword_indexes)

    def _metadata(self, name: str) -> dict[str, Any]:
        return self._call(lambda: self._client.get_collection(name)).config.metadata or {}

    def _delete(self, name: str) -> None:
        real = self.resolve(name)  # by an alias, a server deletes nothing; aliases go along
        self._change(lambda: self._client.delete_collection(real))
        for known in (real, name):
            self._shapes.pop(known, None)
            self._storages.pop(known, None)

    def _shape(self, name: str) -> Shape:
        if name not in self._shapes:
            self.require(name)
            response = self._call(lambda: self._client.get_collection(name))
            self._shapes[name] = from_params(response.config.params)
        return self._shapes[name]

    def _upsert(self, name: str, points: Sequence[Point]) -> None:
        batch: list[models.PointStruct] = []
        size = 0
        for point in points:
            cost = self._request_bytes(point)
            if cost > MAX_POINT_BYTES:
                raise InputError(
                    f"point {point.id} takes {cost / 2**20:.0f} MiB, a server takes 32 MiB in one "
                    "request: shorten its texts or its metadata"
                )
            if batch and size + cost > MAX_REQUEST_BYTES:
                self._send(name, batch)
                batch, size = [], 0
            batch.append(to_point(point))
            size += cost
        self._send(name, batch)

    def _send(self, name: str, batch: list[models.PointStruct]) -> None:
        self._change(lambda: self._client.upsert(name, points=batch, wait=True))

    def _request_bytes(self, point: Point) -> int:
        """What a point takes in a request: numbers are 4 bytes over gRPC, about 21 as JSON."""
        numbers = sum(
            2 * len(vector.indices) if isinstance(vector, SparseVector) else vector.size
            for vector in point.vectors.values()
        )
        payload = len(json.dumps(point.payload, ensure_ascii=False).encode())
        return numbers * (4 if self._grpc else 21) + payload + 64

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
        params = None if self._local else to_search_params(self._storage(name), exact=exact)
        requests = [
            to_query(vector, each, limit=limit, where=conditions, params=params, payload=payload)
            for vector, each in zip(vectors, using, strict=True)
        ]
        found: list[list[ScoredPoint]] = []
        for start in range(0, len(requests), _SEARCH_BATCH):

            def query(part: Any = requests[start : start + _SEARCH_BATCH]) -> Any:
                return self._client.query_batch_points(name, requests=part)

            found += [
                [from_scored(point) for point in response.points] for response in self._call(query)
            ]
        return found

    def _payloads(self, name: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        records = self._call(lambda: self._client.retrieve(name, list(ids), with_payload=True))
        return {str(record.id): record.payload or {} for record in records}

    def _call(
        self, request: Callable[[], Result], *, patience: float = READ_PATIENCE_SECONDS
    ) -> Result:
        """Make a request, and again when it fails for now."""
        with self._lock:
            return translated(self.location, lambda: retrying(patience=patience)(request))

    def _change(self, request: Callable[[], Result]) -> Result:
        """The same of a request that writes, which nobody sits and waits for."""
        return self._call(request, patience=WRITE_PATIENCE_SECONDS)
