"""The vectors of a batch of passages and their queries: made here, or by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from xqg_qdrant.corpus.staging import Augmented
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.models.encoder import Encoder, passage_text


class BatchVectors(NamedTuple):
    """What an encoder makes of a batch.

    Attributes:
        passages: float32, (passages, dimension), in their order.
        queries: float32, (queries, dimension), those of the first passage first.
        truncated_passages: how many were longer than the encoder takes.
        truncated_queries: how many were longer than the encoder takes.
    """

    passages: Matrix
    queries: Matrix
    truncated_passages: int
    truncated_queries: int


Encoding: TypeAlias = Callable[
    [Iterator[list[Augmented]]], Iterator[tuple[list[Augmented], BatchVectors]]
]
"""Gives each batch back with its vectors, in order; it may read some batches ahead."""


def batch_texts(batch: Sequence[Augmented]) -> tuple[list[str], list[str]]:
    """What is encoded of a batch: the passages' texts, and the queries'."""
    return (
        [passage_text(each.passage) for each in batch],
        [query.text for each in batch for query in each.queries],
    )


def encode_texts(encoder: Encoder, passages: list[str], queries: list[str]) -> BatchVectors:
    """Encode the texts of a batch.

    Raises:
        ModelError: the model fails.
    """
    passage_vectors, passages_cut = encoder.encode(passages, "passage")
    query_vectors, queries_cut = encoder.encode(queries, "query")
    return BatchVectors(passage_vectors, query_vectors, passages_cut, queries_cut)


def encode_here(encoder: Encoder) -> Encoding:
    """Encode batch by batch, in this process."""

    def encoded(
        batches: Iterator[list[Augmented]],
    ) -> Iterator[tuple[list[Augmented], BatchVectors]]:
        for batch in batches:
            yield batch, encode_texts(encoder, *batch_texts(batch))

    return encoded
