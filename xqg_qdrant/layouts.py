"""Layouts: which vectors a point has, and which of them a question is scored by.

All are scored by the dot product, which is linear, so that sums over queries can be kept apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import Matrix, Vector, fuse, fuse_sum, language_sums

PASSAGE_VECTOR = "passage"
FUSED_VECTOR = "fused"


class Layout(ABC):
    """One way to store a passage and its queries; stateless.

    Attributes:
        name: as users write it.
        default_alpha: measured on development questions, see ``docs/evaluation.md``.
    """

    name: ClassVar[str]
    default_alpha: ClassVar[float]

    @abstractmethod
    def vector_names(self, languages: Sequence[str]) -> list[str]:
        """The named vectors of every point of a collection with queries in these languages."""

    @abstractmethod
    def point_vectors(
        self,
        passage: Vector,
        queries: Matrix,
        query_languages: Sequence[str],
        *,
        alpha: float,
        languages: Sequence[str],
    ) -> dict[str, Vector]:
        """The vectors of one point.

        Args:
            passage: E(p), (dimension,).
            queries: E(q) of its n generated queries, (n, dimension).
            query_languages: the language of each, n of them.
            alpha: the paper's.
            languages: of the collection; every point gets a vector for each.
        """

    @abstractmethod
    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The name of the vector that scores a question in this language."""

    @abstractmethod
    def plain_vector(self) -> str | None:
        """The name of the vector of the passage alone, None where it is not kept."""


class FusedLayout(Layout):
    """One vector, the paper's: the sum over the queries of every language."""

    name = "fused"
    default_alpha = 0.01

    def vector_names(self, languages: Sequence[str]) -> list[str]:
        """One vector."""
        return [FUSED_VECTOR]

    def point_vectors(
        self,
        passage: Vector,
        queries: Matrix,
        query_languages: Sequence[str],
        *,
        alpha: float,
        languages: Sequence[str],
    ) -> dict[str, Vector]:
        """``(1 - alpha) * E(p) + alpha * sum_q E(q)`` over all queries."""
        return {FUSED_VECTOR: fuse(passage, queries, alpha)}

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The one vector, whatever the language."""
        return FUSED_VECTOR

    def plain_vector(self) -> str | None:
        """None: the passage alone cannot be had back."""
        return None


class PerLanguageLayout(Layout):
    """The passage's vector, and for each language the passage fused with that language's sum.

    A question in Arabic is scored by E(p) and the Arabic sum alone. Nearly all of xQG's gain
    comes from the asker's language, and other languages' queries dilute it. A passage without
    queries in a language keeps its share of E(p) there, so it can still be found.
    """

    name = "per-language"
    default_alpha = 0.1

    def vector_names(self, languages: Sequence[str]) -> list[str]:
        """The passage's vector, then one a language."""
        return [PASSAGE_VECTOR, *(_vector_of(language) for language in languages)]

    def point_vectors(
        self,
        passage: Vector,
        queries: Matrix,
        query_languages: Sequence[str],
        *,
        alpha: float,
        languages: Sequence[str],
    ) -> dict[str, Vector]:
        """E(p), and ``(1 - alpha) * E(p) + alpha * sum_q E(q)`` over each language's queries."""
        sums = language_sums(queries, query_languages, len(passage))
        none = np.zeros(len(passage), dtype=np.float64)
        vectors = {PASSAGE_VECTOR: passage}
        for language in languages:
            vectors[_vector_of(language)] = fuse_sum(passage, sums.get(language, none), alpha)
        return vectors

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The language's vector, or the passage's where the collection has none for it."""
        return _vector_of(language) if language in languages else PASSAGE_VECTOR

    def plain_vector(self) -> str | None:
        """The passage's own."""
        return PASSAGE_VECTOR


LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (FusedLayout(), PerLanguageLayout())
}
DEFAULT_LAYOUT = PerLanguageLayout.name


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        InputError: there is none.
    """
    try:
        return LAYOUTS[name]
    except KeyError:
        raise InputError(f"unknown layout {name!r}: choose one of {', '.join(LAYOUTS)}") from None


def _vector_of(language: str | None) -> str:
    return f"{FUSED_VECTOR}-{language}"
