"""Fusing a dense and a lexical ranking of the same collection into one.

Scores of either side are standardised over its hundred best, as in distribution-based score
fusion (DBSF), and each side weighs as much as its best hit stands out from the others: a
question that shares no names with the passages has a flat lexical ranking, and one in a language
that the encoder does not know a flat dense one. Both are heard all the same. Qdrant's own DBSF
and RRF weigh the sides alike, and take a passage that one side does not list for a bad one, so
that a chance match of one number outweighs the encoder: see ``docs/layouts.md`` for figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DEPTH = 100
"""Best hits of each side that are fused; more where more are asked for."""

LEXICAL_WEIGHT = 0.35
"""Of the lexical side; lexical scores stand out more than dense ones. Measured."""

Ranking = Sequence[tuple[str, float]]
"""Point ids with their scores, best first."""


def fuse_rankings(dense: Ranking, lexical: Ranking, limit: int) -> list[tuple[str, float]]:
    """The best of two rankings.

    ``(w_d z_d + w_l z_l) / (w_d + w_l)``, where z are the standardised scores and w the best z of
    a side, times :data:`LEXICAL_WEIGHT` for the lexical one. A point that the dense side does not
    list counts as good as the last that it does; one that the lexical side does not list matches
    nothing, where that side listed all that do.

    Args:
        dense: the best points by the dense vectors.
        lexical: the best by the lexical ones, without those that match nothing.
        limit: most to return.

    Returns:
        Ids and scores, best first, in standard deviations above the mean of a side's hundred
        best; equal ones by their dense score, then by id.
    """
    fused: dict[str, float] = {}
    dense_scores, lexical_scores = dict(dense), dict(lexical)
    size = max(len(dense), len(lexical))
    deviations, floor, dense_weight = _standardised(dense, size=len(dense))
    matches, no_match, lexical_weight = _standardised(lexical, size=size)
    lexical_weight *= LEXICAL_WEIGHT
    total = dense_weight + lexical_weight or 1.0
    for point in dense_scores | lexical_scores:
        own = dense_weight * deviations.get(point, floor)
        fused[point] = (own + lexical_weight * matches.get(point, no_match)) / total
    last = min(dense_scores.values(), default=0.0)
    ranked = sorted(fused, key=lambda point: (-fused[point], -dense_scores.get(point, last), point))
    return [(point, fused[point]) for point in ranked[:limit]]


def _standardised(ranking: Ranking, *, size: int) -> tuple[dict[str, float], float, float]:
    """Standardised scores by point, that of points not listed, and the best one.

    Args:
        ranking: with fewer than ``size`` points, the missing ones score 0.
        size: of the pool that is standardised over, :data:`DEPTH` at most.
    """
    scores: npt.NDArray[np.float64] = np.array([score for _, score in ranking], dtype=np.float64)
    padded = np.append(scores, np.zeros(size - len(scores)))
    pool = padded[:DEPTH]
    spread = float(pool.std()) if len(pool) else 0.0
    if spread <= 1e-9 * float(np.abs(pool).max(initial=1e-30)):
        return {point: 0.0 for point, _ in ranking}, 0.0, 0.0
    deviations = (padded - pool.mean()) / spread
    listed = {point: float(z) for (point, _), z in zip(ranking, deviations, strict=False)}
    return listed, float(deviations[-1]), float(deviations[0])
