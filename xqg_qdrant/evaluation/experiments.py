"""The experiments: does augmenting help, for which languages, how much, against what controls?

The paper's questions (Zhuang, Shou and Zuccon, SIGIR 2023, section 4), and its follow-up's:
passages in the asker's language instead of, and beside, queries. Settings are cross-validated, so
no question is answered with a setting that was chosen on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.bench import Bench, Setting, System, among
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison, compare, correct_over_systems
from xqg_qdrant.evaluation.measures import AVERAGE, Row, Scores, rows_of
from xqg_qdrant.evaluation.statistics import RESAMPLES
from xqg_qdrant.evaluation.tuning import Tuned, cross_validate, try_settings

ALPHAS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MEASURES = ("MRR@10", "R@1", "R@10")

NONE = System("none")
SENTENCES = System("own sentences", "sentences")
QUERIES = System("queries", "queries")
TRANSLATION = System("passage in the asker's language", translated=True)
BOTH = System("both", "queries", translated=True)

PER_LANGUAGE, FUSED = "per-language", "fused"


@dataclass(frozen=True, slots=True)
class Curve:
    """A measure along something that was varied.

    Attributes:
        title: what it shows.
        x: what was varied.
        measure: the measure.
        lines: for each line's name its points, (x, value).
    """

    title: str
    x: str
    measure: str
    lines: dict[str, tuple[tuple[float, float], ...]]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What an experiment found.

    Attributes:
        title: what was asked.
        rows: figures of every system.
        comparisons: of systems with baselines.
        curves: along what was varied.
        notes: what else there is to say, sentences.
    """

    title: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()


def sweep_alpha(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    alphas: Sequence[float] = ALPHAS,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """Every alpha, and what a cross-validated one gains over none.

    Raises:
        InputError: there are no queries, or an alpha is not from 0 to 1.
    """
    system = _queries(bench, layout)
    settings = [Setting(alpha) for alpha in sorted({0.0, *alphas})]
    tuned = cross_validate(bench, system, settings, measures)
    rows: list[Row] = []
    for point in tuned.points:
        name = f"alpha {point.setting.alpha:g}"
        rows += rows_of(replace(point.scores, system=name), resamples=resamples)
    chosen = replace(tuned.scores, system="alpha by cross-validation")
    none = replace(tuned.points[0].scores, system="alpha 0")
    return Experiment(
        f"alpha, {layout}",
        (*rows, *rows_of(chosen, resamples=resamples)),
        tuple(compare(chosen, none, resamples=resamples)),
        tuple(_curve(f"{name} by alpha, {layout}", "alpha", name, rows) for name in measures),
        (_chosen(system, tuned),),
    )


def sweep_queries(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    alpha: float | None = None,
    most: int | None = None,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """The first 1, 2, … queries of each passage and language: do more help, and from when on?

    Args:
        bench: with queries.
        layout: ``per-language`` or ``fused``.
        alpha: for every number; cross-validated for each when None.
        most: the largest number; all that there are when None.
        measures: their names.
        resamples: of intervals and tests.

    Raises:
        InputError: there are no queries.
    """
    full = _queries(bench, layout)
    settings = _settings(ALPHAS if alpha is None else (alpha,))
    none = _tuned(bench, NONE, [Setting()], measures, "0 queries").scores
    found = [none]
    notes = []
    for number in range(1, min(most or bench.most_queries, bench.most_queries) + 1):
        name = f"{number} {'query' if number == 1 else 'queries'}"
        system = replace(full, name=name, first=number)
        tuned = _tuned(bench, system, settings, measures, name)
        found.append(tuned.scores)
        if alpha is None:
            notes.append(_chosen(system, tuned))
    rows = [row for scores in found for row in rows_of(scores, resamples=resamples)]
    compared = _compare_all(found[1:], none, resamples)
    return Experiment(
        f"queries a language, {layout}",
        tuple(rows),
        compared,
        tuple(_curve(f"{name} by queries a language", "queries", name, rows) for name in measures),
        (*notes, *(_significant_from(compared, measure) for measure in measures[:1])),
    )


def sweep_languages(
    bench: Bench,
    *,
    alpha: float | None = None,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """Whose queries help: the asker's own language, English, all others, or all as in the paper.

    Raises:
        InputError: there are no queries.
    """
    _queries(bench, FUSED)
    languages = bench.query_languages
    others = {own: [each for each in languages if each != own] for own in languages}
    systems = [
        System("the asker's language", "queries"),
        System("all languages", "queries", among(languages)),
        System("all but the asker's", "queries", among(others)),
    ]
    if "en" in languages:
        systems.insert(1, System("English alone", "queries", among(["en"])))
    return _systems(
        "languages of queries",
        bench,
        [(system, _settings(ALPHAS if alpha is None else (alpha,))) for system in systems],
        measures,
        resamples,
    )


def compare_augmentations(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """None, own sentences, queries, the passage in the asker's language, and both.

    Each system is compared with none, and those that cost something with the own sentences, which
    cost nothing.
    """
    systems: list[tuple[System, list[Setting]]] = []
    if bench.trial.sentences:
        systems.append((SENTENCES, _settings(ALPHAS)))
    if bench.trial.queries:
        systems.append((_queries(bench, layout), _settings(ALPHAS)))
    if bench.trial.translations:
        systems.append((TRANSLATION, [Setting(0.0, beta) for beta in BETAS]))
    if bench.trial.queries and bench.trial.translations:
        both = replace(_queries(bench, layout), name=BOTH.name, translated=True)
        grid = product((0.0, 0.01, 0.05, 0.1, 0.2, 0.3), (0.0, 0.2, 0.4, 0.6, 0.8))
        systems.append((both, [Setting(*pair) for pair in sorted(grid)]))
    if not systems:
        raise InputError("there is nothing to augment with: neither queries nor sentences")
    return _systems("ways to augment", bench, systems, measures, resamples)


def _systems(
    title: str,
    bench: Bench,
    systems: Sequence[tuple[System, Sequence[Setting]]],
    measures: Sequence[str],
    resamples: int,
) -> Experiment:
    """Systems, cross-validated, beside none and beside the control where it is among them."""
    none = _tuned(bench, NONE, [Setting()], measures, NONE.name).scores
    found, notes = [], []
    for system, settings in systems:
        tuned = _tuned(bench, system, settings, measures, system.name)
        found.append(tuned.scores)
        if len(settings) > 1:
            notes.append(_chosen(system, tuned))
    compared = list(_compare_all(found, none, resamples))
    control = next((scores for scores in found if scores.system == SENTENCES.name), None)
    if control is not None:
        rest = [scores for scores in found if scores is not control]
        compared += _compare_all(rest, control, resamples)
    rows = [row for scores in (none, *found) for row in rows_of(scores, resamples=resamples)]
    return Experiment(title, tuple(rows), tuple(compared), (), tuple(notes))


def _tuned(
    bench: Bench, system: System, settings: Sequence[Setting], measures: Sequence[str], name: str
) -> Tuned:
    if len(settings) == 1:
        [point] = try_settings(bench, system, settings, measures)
        n = len(point.scores.questions)
        tuned = Tuned(point.scores, (point,), ((point.setting, n),), point.setting)
    else:
        tuned = cross_validate(bench, system, settings, measures)
    return replace(tuned, scores=replace(tuned.scores, system=name))


def _queries(bench: Bench, layout: str) -> System:
    if not bench.trial.queries:
        raise InputError("there are no queries to augment with")
    if layout == PER_LANGUAGE:
        return QUERIES
    if layout == FUSED:
        return replace(QUERIES, languages=among(bench.query_languages))
    raise InputError(f"unknown layout {layout!r}: choose {PER_LANGUAGE} or {FUSED}")


def _settings(alphas: Sequence[float]) -> list[Setting]:
    return [Setting(alpha) for alpha in sorted(set(alphas))]


def _compare_all(
    systems: Sequence[Scores], baseline: Scores, resamples: int
) -> tuple[Comparison, ...]:
    if not resamples:
        return ()
    found = [row for each in systems for row in compare(each, baseline, resamples=resamples)]
    return tuple(correct_over_systems(found))


def _curve(title: str, x: str, measure: str, rows: Sequence[Row]) -> Curve:
    """Lines of each language along the number that is in a system's name."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.measure == measure:
            number = next(float(part) for part in row.system.split() if part[0].isdigit())
            lines.setdefault(row.language, []).append((number, row.value))
    return Curve(title, x, measure, {name: tuple(points) for name, points in lines.items()})


def _chosen(system: System, tuned: Tuned) -> str:
    def said(setting: Setting) -> str:
        parts = [f"alpha {setting.alpha:g}"] if system.source else []
        return ", ".join([*parts, *([f"beta {setting.beta:g}"] if system.translated else [])])

    total = sum(count for _, count in tuned.chosen)
    average = max(point.average for point in tuned.points)
    chosen = "; ".join(f"{said(each)} for {count / total:.0%}" for each, count in tuned.chosen)
    return (
        f"{system.name}: cross-validation chose {chosen} of the questions; best over all of them, "
        f"for others than these, is {said(tuned.best)} (average {average:.3f} over these, of which "
        "it was chosen: no figure to report)."
    )


def _significant_from(compared: Sequence[Comparison], measure: str) -> str:
    """From which number of queries on the average is better, and stays so."""
    averages = [row for row in compared if row.language == AVERAGE and row.measure == measure]
    first = None
    for row in averages:
        better = row.difference > 0 and row.t_test.bonferroni < LEVEL
        first = (first or row.system) if better else None
    if first is None:
        return f"{measure}, average: the gain is not significant with all of the queries."
    return (
        f"{measure}, average: the gain over none is significant from {first} on (paired t-test, "
        f"Bonferroni over {len(averages)} numbers, p < {LEVEL:g})."
    )
