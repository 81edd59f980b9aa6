"""Encoding on a Ray cluster: what ``ingest`` writes is encoded by workers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np

from xqg_qdrant.corpus.staging import Augmented
from xqg_qdrant.loader.encoding import BatchVectors, Encoding, batch_texts, encode_texts
from xqg_qdrant.models.encoder import Encoder
from xqg_qdrant.ray_data.cluster import Connection, RayCluster
from xqg_qdrant.ray_data.models import NodeModel
from xqg_qdrant.ray_data.shards import Do, run_shards, versions_of

_COUNTS = np.dtype("<i8")
_FLOATS = np.dtype("<f4")


@contextmanager
def ray_encoding(encoder: Encoder, cluster: RayCluster) -> Iterator[Encoding]:
    """An encoding for :func:`xqg_qdrant.loader.ingest` that works on a Ray cluster.

    A shard is a batch of the ingest, encoded in one call as it would be here, so vectors are the
    same to the last bit on processors that compute alike, in whatever precision.

    Args:
        encoder: every worker loads the same, from its folder.
        cluster: where the workers are.

    Raises:
        InputError: Ray is not installed, or no node has so many CPUs.
        RayError: the cluster cannot be reached; later on, from the encoding: workers failed.
    """
    with closing(Connection.open(cluster)) as connection:
        work = _Encode(NodeModel.of(encoder.manifest))

        def encoded(
            batches: Iterator[list[Augmented]],
        ) -> Iterator[tuple[list[Augmented], BatchVectors]]:
            ahead: deque[list[Augmented]] = deque()

            def shards() -> Iterator[bytes]:
                for batch in batches:
                    ahead.append(batch)
                    yield json.dumps(batch_texts(batch)).encode()

            for result in run_shards(connection, work, shards()):
                batch = ahead.popleft()
                yield batch, _unpacked(result, len(batch), encoder.dimension)

        yield encoded


@dataclass(frozen=True)
class _Encode:
    """What a worker does with the texts of a batch."""

    model: NodeModel
    versions: dict[str, str] = field(
        default_factory=lambda: versions_of("onnxruntime", "tokenizers", "numpy")
    )

    def start(self, threads: int) -> Do:
        encoder = Encoder.load(self.model.find(), threads=threads)
        self.model.check(encoder.manifest)

        def encode(shard: bytes) -> bytes:
            return _packed(encode_texts(encoder, *json.loads(shard)))

        return encode


def _packed(vectors: BatchVectors) -> bytes:
    counts = np.array([vectors.truncated_passages, vectors.truncated_queries], dtype=_COUNTS)
    rows = np.concatenate([vectors.passages, vectors.queries]).astype(_FLOATS)
    return counts.tobytes() + rows.tobytes()


def _unpacked(result: bytes, passages: int, dimension: int) -> BatchVectors:
    counts = np.frombuffer(result, dtype=_COUNTS, count=2)
    rows = np.frombuffer(result, dtype=_FLOATS, offset=counts.nbytes).reshape(-1, dimension)
    rows = rows.astype(np.float32)
    return BatchVectors(rows[:passages], rows[passages:], int(counts[0]), int(counts[1]))
