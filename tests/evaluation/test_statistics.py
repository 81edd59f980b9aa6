from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xqg_qdrant.evaluation.statistics import (
    EXACT,
    Stratum,
    bonferroni,
    bootstrap,
    contributions,
    holm,
    paired_t_test,
    randomization_test,
)

RNG = np.random.default_rng(7)
FIRST = RNG.random(200)
SECOND = FIRST + RNG.normal(0.03, 0.2, 200)


def stratum(name: str, first: int, last: int, clusters: list[str] | None = None) -> Stratum:
    places = np.arange(first, last)
    return Stratum(name, places, tuple(clusters or (f"{name}{place}" for place in places)))


def test_intervals_are_those_of_scipy() -> None:
    low, high = bootstrap(FIRST, [stratum("de", 0, 200)], [], resamples=10_000)["de"]
    theirs = stats.bootstrap(
        (FIRST,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.004)
    assert low < FIRST.mean() < high


def test_intervals_are_the_same_each_time_and_hang_on_the_seed() -> None:
    strata = [stratum("de", 0, 100), stratum("sw", 100, 200)]
    once = bootstrap(FIRST, strata, ["de", "sw"], resamples=200)
    assert bootstrap(FIRST, strata, ["de", "sw"], resamples=200) == once
    assert bootstrap(FIRST, strata, ["de", "sw"], resamples=200, seed=1) != once


def test_a_languages_interval_does_not_hang_on_which_others_there_are() -> None:
    alone = bootstrap(FIRST, [stratum("de", 0, 100)], [], resamples=200)
    both = bootstrap(FIRST, [stratum("sw", 100, 200), stratum("de", 0, 100)], [], resamples=200)
    assert alone["de"] == both["de"]


def test_values_that_are_all_the_same_have_an_interval_of_no_width() -> None:
    low, high = bootstrap(np.full(50, 0.25), [stratum("de", 0, 50)], ["de"], resamples=100)[None]
    assert (low, high) == pytest.approx((0.25, 0.25))


def test_translations_of_the_same_questions_are_not_so_many_questions() -> None:
    """Eight languages, the same values in each: the average is as uncertain as one of them."""
    values = np.tile(FIRST[:100], 8)
    same = [str(number) for number in range(100)]
    names = [f"l{number}" for number in range(8)]
    spans = [(number * 100, number * 100 + 100) for number in range(8)]
    joint = [stratum(name, *span, same) for name, span in zip(names, spans, strict=True)]
    apart = [stratum(name, *span) for name, span in zip(names, spans, strict=True)]

    def width(strata: list[Stratum], key: str | None) -> float:
        low, high = bootstrap(values, strata, names, resamples=2_000)[key]
        return high - low

    assert width(joint, None) == pytest.approx(width(joint, "l0"))
    assert width(apart, None) == pytest.approx(width(apart, "l0") / np.sqrt(8), rel=0.1)


def test_contributions_sum_to_the_mean_of_the_means() -> None:
    strata = [stratum("de", 0, 50), stratum("sw", 50, 200)]
    found = contributions(FIRST, strata)
    assert len(found) == 200
    assert found.sum() == pytest.approx((FIRST[:50].mean() + FIRST[50:].mean()) / 2)
    together = [stratum("de", 0, 2, ["a", "b"]), stratum("sw", 2, 4, ["b", "a"])]
    assert contributions(np.array([1.0, 2, 3, 4]), together).tolist() == [5 / 4, 5 / 4]


def test_the_t_test_is_that_of_scipy_at_any_scale() -> None:
    p = stats.ttest_rel(FIRST, SECOND).pvalue
    assert paired_t_test(FIRST, SECOND) == pytest.approx(p)
    assert paired_t_test(FIRST / 200, SECOND / 200) == pytest.approx(p)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_nothing_differs(n: int) -> None:
    same = np.full(n, 0.5)
    assert paired_t_test(same, same) == 1
    assert randomization_test(same, same) == 1


def test_one_pair_says_nothing() -> None:
    assert paired_t_test(np.array([1.0]), np.array([0.0])) == 1
    assert randomization_test(np.array([1.0]), np.array([0.0])) == 1


def test_the_randomization_test_is_that_of_scipy() -> None:
    ours = randomization_test(FIRST, SECOND)
    theirs = stats.permutation_test(
        (FIRST, SECOND),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        random_state=1,
    ).pvalue
    assert ours == pytest.approx(theirs, abs=0.01)
    assert randomization_test(FIRST, SECOND) == ours


def test_a_clear_difference_never_has_p_0() -> None:
    assert randomization_test(FIRST, FIRST + 1, resamples=999) == 1 / 1000


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=EXACT))
def test_few_questions_are_tested_exactly(differences: list[int]) -> None:
    second = np.zeros(len(differences))
    first = np.array(differences, dtype=np.float64)
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(each >= abs(sum(differences)) for each in sums) / len(sums)
    assert randomization_test(first, second) == pytest.approx(expected)


def test_corrections_worked_out_by_hand() -> None:
    p_values = {"ar": 0.01, "de": 0.04, "sw": 0.03, "zh": 0.5}
    assert bonferroni(p_values) == pytest.approx({"ar": 0.04, "de": 0.16, "sw": 0.12, "zh": 1})
    assert holm(p_values) == pytest.approx({"ar": 0.04, "sw": 0.09, "de": 0.09, "zh": 0.5})
    assert holm({}) == bonferroni({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_bare_p_value_and_bonferronis(p_values: dict[str, float]) -> None:
    adjusted, most = holm(p_values), bonferroni(p_values)
    assert list(adjusted) == list(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= most[name] <= 1
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    steps = [adjusted[name] for name in ordered]
    assert steps == sorted(steps)
