"""Fusing the vectors of a passage and of its generated queries.

The formula is that of xQG (Zhuang, Shou, Zuccon, "Augmenting Passage Representations with Query
Generation for Enhanced Cross-Lingual Dense Retrieval", SIGIR 2023, arXiv 2305.03950)::

    E'(p) = (1 - alpha) * E(p) + alpha * sum_q E(q)

a **sum** over the queries, not a mean, so that what a given alpha means depends on how many
queries are summed; :func:`query_share` says it in comparable terms. Sums accumulate in float64
and are returned as float32, so the order of queries does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xqg_qdrant.errors import InputError

Vector = npt.NDArray[np.float32]
"""float32, (dimension,)."""

Matrix = npt.NDArray[np.float32]
"""float32, (n, dimension)."""


def check_alpha(alpha: float) -> float:
    """Return alpha as a float.

    Raises:
        InputError: not a number from 0 to 1.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0.0 <= alpha <= 1.0:
        raise InputError(f"alpha is {alpha!r}: give a number from 0 (passage alone) to 1")
    return float(alpha)


def fuse(passage: npt.ArrayLike, queries: npt.ArrayLike, alpha: float) -> Vector:
    """The paper's fused vector: ``(1 - alpha) * E(p) + alpha * sum_q E(q)``.

    Args:
        passage: E(p), (dimension,).
        queries: the E(q), (n, dimension); n may be 0.
        alpha: from 0, the plain passage, to 1, the queries alone.

    Returns:
        float32, (dimension,). Not normalised: score it by the dot product.

    Raises:
        InputError: alpha outside [0, 1], or shapes that do not fit.
    """
    vector = _passage_vector(passage)
    return fuse_sum(vector, sum_queries(queries, vector.shape[0]), alpha)


def fuse_sum(passage: Vector, query_sum: npt.NDArray[np.float64], alpha: float) -> Vector:
    """The paper's fused vector from a sum already taken; see :func:`fuse`."""
    alpha = check_alpha(alpha)
    if alpha == 0.0:
        return passage.astype(np.float32)
    fused = (1.0 - alpha) * passage.astype(np.float64) + alpha * query_sum
    return fused.astype(np.float32)


def sum_queries(queries: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float64]:
    """``sum_q E(q)`` of (n, dimension) vectors, n >= 0: float64, (dimension,).

    Raises:
        InputError: the vectors have another dimension.
    """
    total: npt.NDArray[np.float64] = _query_matrix(queries, dimension).sum(axis=0)
    return total


def language_sums(
    queries: npt.ArrayLike, languages: Sequence[str], dimension: int
) -> dict[str, npt.NDArray[np.float64]]:
    """One ``sum_q E(q)`` a language, over that language's queries alone.

    Args:
        queries: (n, dimension).
        languages: the language of each of the n queries.
        dimension: of the vectors; needed where n is 0.

    Raises:
        InputError: n vectors but another number of languages, or of another dimension.
    """
    matrix = _query_matrix(queries, dimension)
    if len(languages) != len(matrix):
        raise InputError(f"{len(matrix)} query vectors but {len(languages)} languages")
    rows: dict[str, list[int]] = {}
    for row, language in enumerate(languages):
        rows.setdefault(language, []).append(row)
    return {language: sum_queries(matrix[picked], dimension) for language, picked in rows.items()}


def query_share(alpha: float, queries: float) -> float:
    """The queries' share of the total mass, ``alpha n / ((1 - alpha) + alpha n)``, from 0 to 1.

    The paper's alpha of 0.01 over 35 queries is a share of 0.26; so is 0.065 over 5.

    Args:
        alpha: the paper's.
        queries: how many unit-length queries are summed (a mean is welcome).
    """
    total = total_mass(alpha, queries)
    return alpha * queries / total if total > 0 else 0.0


def total_mass(alpha: float, queries: float) -> float:
    """``(1 - alpha) + alpha n``: what a fused vector weighs where its texts all say the same.

    Args:
        alpha: the paper's.
        queries: how many unit-length queries are summed (a mean is welcome).
    """
    return (1.0 - check_alpha(alpha)) + alpha * queries


def tunable_passage(
    passage: npt.ArrayLike, sums: Sequence[npt.NDArray[np.float64] | None]
) -> Vector:
    """``[E(p); S_1; …; S_n]``: float32, ((1 + n) * dimension,), fused only when it is searched.

    The dot product is linear, so with :func:`tunable_query` it scores exactly as :func:`fuse`
    would, for any alpha, and any weight of each sum, chosen per query.

    Args:
        passage: E(p), (dimension,).
        sums: of query vectors, (dimension,) each; None for one without queries.

    Raises:
        InputError: shapes that do not fit.
    """
    vector = _passage_vector(passage)
    parts = [vector]
    for each in sums:
        part = np.zeros_like(vector) if each is None else np.asarray(each, dtype=np.float32)
        if part.shape != vector.shape:
            raise InputError(f"a sum has shape {part.shape}, wanted {vector.shape}")
        parts.append(part)
    return np.concatenate(parts)


def tunable_query(
    question: npt.ArrayLike, alpha: float, weights: Sequence[float] = (1.0,)
) -> Vector:
    """``[(1 - alpha) E(x); alpha w_1 E(x); …]``: see :func:`tunable_passage`.

    Args:
        question: E(x), (dimension,).
        alpha: the paper's.
        weights: of each sum.

    Returns:
        float32, ((1 + n) * dimension,).

    Raises:
        InputError: alpha outside [0, 1].
    """
    alpha = check_alpha(alpha)
    vector = np.asarray(question, dtype=np.float32)
    factors = [1.0 - alpha, *(alpha * weight for weight in weights)]
    return np.concatenate([factor * vector for factor in factors]).astype(np.float32)


def _query_matrix(queries: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float64]:
    matrix = np.asarray(queries, dtype=np.float64)
    if matrix.size == 0:
        return np.zeros((0, dimension), dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != dimension:
        raise InputError(f"queries have shape {matrix.shape}, wanted (n, {dimension})")
    return matrix


def _passage_vector(passage: npt.ArrayLike) -> Vector:
    vector = np.asarray(passage, dtype=np.float32)
    if vector.ndim != 1:
        raise InputError(f"a passage's vector has shape (dimension,), this one {vector.shape}")
    return vector
