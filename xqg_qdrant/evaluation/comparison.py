"""Two systems over the same questions: differences, intervals, and corrected tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import AVERAGE, Scores, mean
from xqg_qdrant.evaluation.statistics import (
    RESAMPLES,
    SEED,
    Values,
    bonferroni,
    bootstrap,
    contributions,
    holm,
    paired_t_test,
    randomization_test,
)

LEVEL = 0.05
"""Of significance: a p-value below it is marked."""


@dataclass(frozen=True, slots=True)
class PValues:
    """What a two-sided test says, and what is left of it after correction.

    Attributes:
        p: of this test alone.
        bonferroni: corrected over the languages compared, as in xQG's paper.
        holm: corrected by Holm's step-down procedure, as safe and never larger.
    """

    p: float
    bonferroni: float
    holm: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of a system beside a baseline's, over the same questions.

    Attributes:
        system: what was measured.
        baseline: what it is compared to.
        language: of the questions, or ``average``: the mean over languages other than the
            passages', a test of its own, so it is not corrected for the languages but for the
            systems, where :func:`correct_over_systems` was asked to.
        measure: its name.
        value: the system's.
        baseline_value: the baseline's.
        difference: the system's minus the baseline's.
        low: lower end of the difference's 95 % bootstrap interval.
        high: its upper end.
        n: questions behind it.
        better: questions where the system scores higher.
        worse: questions where the baseline does.
        t_test: the paired t-test.
        randomization: the paired randomisation test.
    """

    system: str
    baseline: str
    language: str
    measure: str
    value: float
    baseline_value: float
    difference: float
    low: float
    high: float
    n: int
    better: int
    worse: int
    t_test: PValues
    randomization: PValues

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def compare(
    system: Scores, baseline: Scores, *, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Comparison]:
    """Compare two systems, question by question.

    For the average, each question (each cluster of translations) counts with what it adds to the
    mean over languages.

    Args:
        system: scores of one.
        baseline: scores of the other, on the same questions and measures.
        resamples: of the bootstrap and of the randomisation test.
        seed: of both.

    Returns:
        For each language, sorted, and last for the average over languages, one comparison a
        measure.

    Raises:
        InputError: the questions or the measures are not the same.
    """
    _check_same(system, baseline)
    places = system.places()
    averaged = system.averaged()
    compared: dict[tuple[str, str], Comparison] = {}
    for measure, values in system.values.items():
        others = baseline.values[measure]
        intervals = bootstrap(
            values - others, system.strata(), averaged, resamples=resamples, seed=seed
        )
        pairs: dict[str, tuple[Values, Values]] = {}
        for language in [*places, *([AVERAGE] if averaged else [])]:
            strata = system.strata(averaged if language == AVERAGE else [language])
            pairs[language] = contributions(values, strata), contributions(others, strata)
        tests = {
            "t_test": _corrected(pairs, places, paired_t_test),
            "randomization": _corrected(
                pairs,
                places,
                lambda a, b: randomization_test(a, b, resamples=resamples, seed=seed),
            ),
        }
        for language in pairs:
            taken = averaged if language == AVERAGE else (language,)
            at = [place for each in taken for place in places[each]]
            value, other = (
                mean([mean(found[places[each]]) for each in taken]) for found in (values, others)
            )
            low, high = intervals[None if language == AVERAGE else language]
            compared[language, measure] = Comparison(
                system.system,
                baseline.system,
                language,
                measure,
                value,
                other,
                value - other,
                low,
                high,
                len(at),
                int(np.sum(values[at] > others[at])),
                int(np.sum(values[at] < others[at])),
                tests["t_test"][language],
                tests["randomization"][language],
            )
    languages = list(dict.fromkeys(language for language, _ in compared))
    return [compared[language, name] for language in languages for name in system.values]


def correct_over_systems(compared: Sequence[Comparison]) -> list[Comparison]:
    """Correct the tests of averages for how many systems were compared with one baseline."""
    families: dict[tuple[str, str], list[Comparison]] = {}
    for each in compared:
        if each.language == AVERAGE:
            families.setdefault((each.baseline, each.measure), []).append(each)
    corrected: dict[tuple[str, str, str], Comparison] = {}
    for (baseline, measure), family in families.items():
        tests = {}
        for kind in ("t_test", "randomization"):
            p_values = {each.system: getattr(each, kind).p for each in family}
            by_bonferroni, by_holm = bonferroni(p_values), holm(p_values)
            tests[kind] = {
                name: PValues(p, by_bonferroni[name], by_holm[name]) for name, p in p_values.items()
            }
        for each in family:
            corrected[baseline, measure, each.system] = replace(
                each,
                t_test=tests["t_test"][each.system],
                randomization=tests["randomization"][each.system],
            )
    return [
        corrected[each.baseline, each.measure, each.system] if each.language == AVERAGE else each
        for each in compared
    ]


def _corrected(
    pairs: Mapping[str, tuple[Values, Values]],
    languages: Sequence[str] | Mapping[str, Any],
    test: Callable[[Values, Values], float],
) -> dict[str, PValues]:
    """The test of each pair, corrected over the languages; the average stands by itself."""
    p_values = {name: test(*pair) for name, pair in pairs.items()}
    family = {language: p_values[language] for language in languages}
    by_bonferroni, by_holm = bonferroni(family), holm(family)
    return {
        name: PValues(p, by_bonferroni.get(name, p), by_holm.get(name, p))
        for name, p in p_values.items()
    }


def _check_same(system: Scores, baseline: Scores) -> None:
    if system.questions != baseline.questions:
        ours, theirs = set(system.questions), set(baseline.questions)
        odd = sorted(ours ^ theirs) or [next(iter(system.questions))]
        raise InputError(
            f"{system.system!r} and {baseline.system!r} were not measured on the same questions: "
            f"{odd[0]!r} is in one alone"
        )
    if system.values.keys() != baseline.values.keys():
        raise InputError(
            f"{system.system!r} and {baseline.system!r} were measured by different measures: "
            f"{', '.join(system.values)} and {', '.join(baseline.values)}"
        )
