"""Intervals and tests over questions: seeded, and the same to the last digit each time.

Percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
Tests for retrieval: Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests
for Information Retrieval Evaluation", CIKM 2007. Step-down correction: Holm, "A Simple
Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SEED = 20230723
"""Of everything drawn here. Any other is as good; results say which it was."""

RESAMPLES = 10_000
"""Bootstrap samples, and random assignments of the randomisation test."""

CONFIDENCE = 0.95

EXACT = 13
"""With at most so many differing questions, the randomisation test tries every assignment."""

_CHUNK = 500
_TOLERANCE = 1e-12

Values = npt.NDArray[np.float64]
"""float64, (n,): one measure of n questions."""


@dataclass(frozen=True, slots=True, eq=False)
class Stratum:
    """The questions of one language.

    Attributes:
        name: the language.
        places: int, (k,): where its questions stand among all n.
        clusters: of each of the k questions, what it is drawn together with.
    """

    name: str
    places: npt.NDArray[np.intp]
    clusters: tuple[str, ...]


def bootstrap(
    values: Values,
    strata: Sequence[Stratum],
    averaged: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str | None, tuple[float, float]]:
    """95 % percentile intervals of the mean of each stratum, and of the mean of means.

    Questions are drawn with replacement within their language. Where languages ask translations
    of the same questions (their clusters are the same), those are drawn together, so that the
    interval of the average does not pretend that eleven translations are eleven questions.

    Args:
        values: of all n questions.
        strata: the languages.
        averaged: the names of those that the average is over; may be empty.
        resamples: how many times to draw.
        seed: of the draws; a language's own draws do not hang on which others there are.

    Returns:
        Lower and upper end for each stratum by its name, and by None for the average.
    """
    means: dict[str, Values] = {}
    for together in _drawn_together(strata):
        clusters = sorted({cluster for stratum in together for cluster in stratum.clusters})
        row = {cluster: number for number, cluster in enumerate(clusters)}
        sums = np.zeros((len(clusters), len(together)))
        for column, stratum in enumerate(together):
            # Clusters are a stratum's own questions each: nothing is added up here.
            rows = [row[cluster] for cluster in stratum.clusters]
            np.add.at(sums[:, column], rows, values[stratum.places])
        rng = np.random.default_rng([seed, zlib.crc32("\n".join(clusters).encode())])
        drawn = np.concatenate(
            [
                # Not a matrix product: BLAS adds in an order that hangs on the machine.
                np.einsum("rc,cs->rs", counts, sums) / len(clusters)
                for counts in _draws(rng, len(clusters), resamples)
            ]
        )
        # Where two questions of one language are one cluster, the mean is over questions still.
        for column, stratum in enumerate(together):
            means[stratum.name] = drawn[:, column] * (len(clusters) / len(stratum.places))
    intervals: dict[str | None, tuple[float, float]] = {
        name: _interval(each) for name, each in means.items()
    }
    if averaged:
        intervals[None] = _interval(np.mean([means[name] for name in averaged], axis=0))
    return intervals


def contributions(values: Values, strata: Sequence[Stratum]) -> Values:
    """What each cluster adds to the mean over strata of their means.

    Returns:
        float64, (clusters,), in the order of the clusters' names; they sum to that mean.
    """
    clusters = sorted({cluster for stratum in strata for cluster in stratum.clusters})
    row = {cluster: number for number, cluster in enumerate(clusters)}
    total = np.zeros(len(clusters))
    for stratum in strata:
        rows = [row[cluster] for cluster in stratum.clusters]
        np.add.at(total, rows, values[stratum.places] / (len(stratum.places) * len(strata)))
    return total


def paired_t_test(first: Values, second: Values) -> float:
    """Two-sided p-value of the paired t-test; 1 where nothing differs or there is one pair.

    Computed by scipy.
    """
    if len(first) < 2 or np.array_equal(first, second):
        return 1.0
    from scipy import stats

    with warnings.catch_warnings():
        # Differences that are all the same: t is infinite, and p is 0.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_rel(first, second).pvalue)


def randomization_test(
    first: Values, second: Values, *, resamples: int = RESAMPLES, seed: int = SEED
) -> float:
    """Two-sided p-value of the paired randomisation test on the difference of means.

    Under the null hypothesis the two systems' labels may be swapped, question by question. With
    few questions every swap is tried; else ``resamples`` random ones, and the observed one counts
    as one of them, so that p is never 0.
    """
    differences = (first - second)[first != second]
    observed = abs(float(differences.sum()))
    if len(differences) <= EXACT:
        swaps = np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1
        return float(np.mean(_extreme(swaps, differences, observed)))
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        swaps = rng.integers(0, 2, size=(size, len(differences)), dtype=np.int8)
        count += int(_extreme(swaps, differences, observed).sum())
    return (count + 1) / (resamples + 1)


def bonferroni(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values times their number, at most 1."""
    return {name: min(1.0, p * len(p_values)) for name, p in p_values.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down p-values: never above Bonferroni's, and as safe."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda each: (p_values[each], each))):
        highest = max(highest, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _drawn_together(strata: Sequence[Stratum]) -> list[list[Stratum]]:
    """Strata of the same clusters, together; in the order of the first of each."""
    groups: dict[tuple[str, ...], list[Stratum]] = {}
    for stratum in strata:
        groups.setdefault(tuple(sorted(stratum.clusters)), []).append(stratum)
    return list(groups.values())


def _draws(rng: np.random.Generator, n: int, resamples: int) -> Iterator[Values]:
    """How often each of n things is drawn in n draws: (r, n) a time, r in all ``resamples``."""
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _interval(means: Values) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _extreme(
    swaps: npt.NDArray[np.integer], differences: Values, observed: float
) -> npt.NDArray[np.bool_]:
    """Which assignments differ at least as much as the observed one: (r, n), (n,) to (r,)."""
    sums = np.einsum("rn,n->r", 1.0 - 2.0 * swaps, differences)
    reached: npt.NDArray[np.bool_] = np.abs(sums) >= observed - _TOLERANCE
    return reached
