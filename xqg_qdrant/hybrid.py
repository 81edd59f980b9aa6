"""Fusing a dense and a lexical ranking of the same collection into one.

Each side is believed as far as its best hit stands out, and evidence counts by its square, so
that the surer side decides and a flat ranking is hardly heard: a question that shares no names
with the passages has a flat lexical ranking, one in a language that the encoder does not know a
flat dense one.

How far a dense hit stands out is how much of the way it covers from the background, the mean of
the hundred best, to a perfect match, the question itself. That does not depend on an encoder's
scale, nor much on the size of the collection, and tells right hits from wrong ones far better
than standard deviations do, which are as many where an encoder knows nothing of a language.
Lexical scores have no perfect match that could be known, and are standardised, as in
distribution-based score fusion (DBSF). Qdrant's own DBSF and RRF weigh the sides alike, and take
a passage that one side does not list for a bad one, so that a chance match of one number
outweighs the encoder: see ``docs/layouts.md`` for figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DEPTH = 100
"""Best hits of each side that are fused; more where more are asked for."""

DENSE_WEIGHT = 1_000.0
"""Of the dense side's evidence against squared standard deviations. Measured."""

MAXSIM_PERFECT = 2.0
"""Times the score of a perfect match that is taken for one where the best of a passage's texts
counts: some text is near to any question in a language that an encoder muddles. Measured."""

Ranking = Sequence[tuple[str, float]]
"""Point ids with their scores, best first."""


def fuse_rankings(
    dense: Ranking, lexical: Ranking, limit: int, *, perfect: float
) -> list[tuple[str, float]]:
    """The best of two rankings.

    ``(W c x|x| + z|z|) / (W c**3 + c'**2)``: x is the part of the way from the background to a
    perfect match that a dense score covers, c the best x; z is a lexical score, standardised, c'
    the best z; W is :data:`DENSE_WEIGHT`. A point that the dense side does not list counts as
    good as the last that it does; one that the lexical side does not list matches nothing, where
    that side listed all that do.

    Args:
        dense: the best points by the dense vectors.
        lexical: the best by the lexical ones, without those that match nothing.
        limit: most to return.
        perfect: the dense score that a perfect match would have: of the question with itself.

    Returns:
        Ids and scores, best first, 1 for a point that is the best of both sides; equal ones by
        their dense score, then by id.
    """
    dense_scores, lexical_scores = dict(dense), dict(lexical)
    size = max(len(dense), len(lexical))
    x, farthest = _covered(dense, perfect)
    z, no_match = _standardised(lexical, size=size)
    trust = max(x.values(), default=0.0)
    best = DENSE_WEIGHT * trust**3 + max(z.values(), default=0.0) ** 2 or 1.0
    fused = {
        point: (
            DENSE_WEIGHT * trust * _signed_square(x.get(point, farthest))
            + _signed_square(z.get(point, no_match))
        )
        / best
        for point in dense_scores | lexical_scores
    }
    last = min(dense_scores.values(), default=0.0)
    ranked = sorted(fused, key=lambda point: (-fused[point], -dense_scores.get(point, last), point))
    return [(point, fused[point]) for point in ranked[:limit]]


def _covered(ranking: Ranking, perfect: float) -> tuple[dict[str, float], float]:
    """The part of the way from the background to a perfect match, by point; that of the last."""
    scores = _scores(ranking)
    if not len(scores):
        return {}, 0.0
    background = float(scores[:DEPTH].mean())
    # Sums of many queries can score higher than a perfect match of one text.
    way = max(perfect, float(scores[0])) - background
    if way <= _negligible(scores):
        return {point: 0.0 for point, _ in ranking}, 0.0
    covered = (scores - background) / way
    listed = {point: float(x) for (point, _), x in zip(ranking, covered, strict=True)}
    return listed, float(covered[-1])


def _standardised(ranking: Ranking, *, size: int) -> tuple[dict[str, float], float]:
    """Standardised scores by point, and that of points that are not listed.

    Args:
        ranking: with fewer than ``size`` points, the missing ones score 0.
        size: of the pool that is standardised over, :data:`DEPTH` at most.
    """
    scores = np.append(_scores(ranking), np.zeros(size - len(ranking)))
    pool = scores[:DEPTH]
    spread = float(pool.std()) if len(pool) else 0.0
    if spread <= _negligible(pool):
        return {point: 0.0 for point, _ in ranking}, 0.0
    deviations = (scores - pool.mean()) / spread
    listed = {point: float(z) for (point, _), z in zip(ranking, deviations, strict=False)}
    return listed, float(deviations[-1])


def _scores(ranking: Ranking) -> npt.NDArray[np.float64]:
    return np.array([score for _, score in ranking], dtype=np.float64)


def _negligible(scores: npt.NDArray[np.float64]) -> float:
    """A difference of scores that is but their rounding."""
    return 1e-9 * float(np.abs(scores).max(initial=1e-30))


def _signed_square(value: float) -> float:
    return value * abs(value)
