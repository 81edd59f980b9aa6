"""Settings chosen on other questions than those that they are measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.bench import Bench, Setting, System
from xqg_qdrant.evaluation.measures import Scores, depth_of, mean, score
from xqg_qdrant.evaluation.statistics import SEED

FOLDS = 5
"""Of the cross-validation, over groups of questions: articles, where there are such."""


@dataclass(frozen=True, slots=True)
class Point:
    """A system in one setting.

    Attributes:
        setting: the setting.
        scores: of every question.
        average: of the first measure, over languages other than the passages'.
    """

    setting: Setting
    scores: Scores
    average: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """A system whose setting was cross-validated.

    Attributes:
        scores: each question's in a setting that was chosen without it.
        points: every setting that was tried.
        chosen: how often each setting was chosen, most often first.
        best: the setting that is best over all questions: for other questions than these.
    """

    scores: Scores
    points: tuple[Point, ...]
    chosen: tuple[tuple[Setting, int], ...]
    best: Setting


def try_settings(
    bench: Bench, system: System, settings: Sequence[Setting], measures: Sequence[str]
) -> tuple[Point, ...]:
    """A system in every setting."""
    depth = depth_of(measures)
    points = []
    for setting, run in zip(settings, bench.runs(system, settings, depth=depth), strict=True):
        scores = score(run, measures)
        points.append(Point(setting, scores, average_of(scores, measures[0])))
    return tuple(points)


def cross_validate(
    bench: Bench,
    system: System,
    settings: Sequence[Setting],
    measures: Sequence[str],
    *,
    folds: int = FOLDS,
    seed: int = SEED,
) -> Tuned:
    """Choose the setting of each question by the questions of other groups.

    The setting with the best average over languages of the first measure is taken, the first of
    equals. Groups are dealt to folds at random.

    Args:
        bench: that the system is measured on.
        system: to be tuned.
        settings: to choose from, those that change least first.
        measures: their names.
        folds: at least 2; at most as many as there are groups are used.
        seed: of the dealing.

    Raises:
        InputError: there is one group of questions alone, or no setting.
    """
    if not settings:
        raise InputError("there is no setting to choose from")
    points = try_settings(bench, system, settings, measures)
    if len(points) == 1:
        only = points[0]
        n = len(only.scores.questions)
        return Tuned(only.scores, points, ((only.setting, n),), only.setting)
    group_of = {each.question.id: each.group for each in bench.trial.asked}
    groups = sorted(set(group_of.values()))
    if len(groups) < 2 or folds < 2:
        raise InputError(
            "there is one group of questions alone, so no setting can be chosen on others: ask "
            "more articles, or give the setting"
        )
    dealt = np.random.default_rng(seed).permutation(len(groups)) % min(folds, len(groups))
    fold_of = dict(zip(groups, dealt.tolist(), strict=True))
    scores = points[0].scores
    folds_of = np.array([fold_of[group_of[question]] for question in scores.questions])
    values = {name: found.copy() for name, found in scores.values.items()}
    counts: Counter[Setting] = Counter()
    for fold in sorted(set(fold_of.values())):
        held_out = folds_of == fold
        best = max(points, key=lambda point: _average_where(point.scores, measures[0], ~held_out))
        counts[best.setting] += int(held_out.sum())
        for name, found in values.items():
            found[held_out] = best.scores.values[name][held_out]
    best = max(points, key=lambda point: point.average)
    return Tuned(replace(scores, values=values), points, tuple(counts.most_common()), best.setting)


def average_of(scores: Scores, measure: str) -> float:
    """The mean over languages other than the passages', or over all where there is no other."""
    return _average_where(scores, measure, np.ones(len(scores.questions), dtype=np.bool_))


def _average_where(
    scores: Scores, measure: str, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> float:
    places = scores.places()
    values = scores.values[measure]
    means = []
    for language in scores.averaged() or tuple(places):
        at = np.array(places[language])
        at = at[chosen[at]]
        if len(at):
            means.append(mean(values[at]))
    return mean(means) if means else 0.0
