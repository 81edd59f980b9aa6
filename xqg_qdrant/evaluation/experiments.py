"""The experiments: does augmenting help, for which languages, how much, against what controls?

The paper's questions (Zhuang, Shou and Zuccon, SIGIR 2023, section 4), and its follow-up's:
passages in the asker's language instead of, and beside, queries. Settings are cross-validated, so
no question is answered with a setting that was chosen on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.bench import Bench, Setting, System, among
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison, compare, correct_over_systems
from xqg_qdrant.evaluation.measures import AVERAGE, Row, Scores, rows_of
from xqg_qdrant.evaluation.statistics import RESAMPLES
from xqg_qdrant.evaluation.tuning import Tuned, cross_validate, try_settings

ALPHAS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MEASURES = ("MRR@10", "R@1", "R@10")

RESTS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)

NONE = System("none")
SENTENCES = System("own sentences", "sentences")
QUERIES = System("queries", "queries")
TUNABLE = System("queries, tunable", "queries", weighted=True)
MULTIVECTOR = System("queries, multivector", "queries", maxsim=True)
TRANSLATION = System("passage in the asker's language", translated=True)
BOTH = System("both", "queries", translated=True)

PER_LANGUAGE, FUSED = "per-language", "fused"
HYBRID = ", hybrid"
"""Ends the names of systems that are fused with the lexical ranking."""


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
        alphas: those that an encoder should have, by layout for ``dense`` and ``hybrid``; empty
            where none were looked for.
    """

    title: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    alphas: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def sweep_alpha(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    hybrid: bool = False,
    alphas: Sequence[float] = ALPHAS,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """Every alpha, and what a cross-validated one gains over none.

    Args:
        bench: with queries.
        layout: ``per-language`` or ``fused``.
        hybrid: fused with the lexical ranking; at alpha 0 queries are in that all the same.
        alphas: to try; 0 is always among them.
        measures: their names; the first is what alpha is chosen by.
        resamples: of intervals and tests.

    Raises:
        InputError: there are no queries, or an alpha is not from 0 to 1.
    """
    system, said = queries_system(bench, layout, hybrid=hybrid), told(layout, hybrid=hybrid)
    settings = [Setting(alpha) for alpha in sorted({0.0, *alphas})]
    tuned = cross_validate(bench, system, settings, measures)
    rows: list[Row] = []
    for point in tuned.points:
        name = f"alpha {point.setting.alpha:g}"
        rows += rows_of(replace(point.scores, system=name), resamples=resamples)
    chosen = replace(tuned.scores, system="alpha by cross-validation")
    none = replace(tuned.points[0].scores, system="alpha 0")
    return Experiment(
        f"alpha, {said}",
        (*rows, *rows_of(chosen, resamples=resamples)),
        compare_all([chosen], none, resamples),
        tuple(_curve(f"{name} by alpha, {said}", "alpha", name, rows) for name in measures),
        (chosen_of(system, tuned),),
    )


def sweep_queries(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    hybrid: bool = False,
    alpha: float | None = None,
    most: int | None = None,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """The first 1, 2, … queries of each passage and language: do more help, and from when on?

    Args:
        bench: with queries.
        layout: ``per-language`` or ``fused``.
        hybrid: fused with the lexical ranking.
        alpha: for every number; cross-validated for each when None.
        most: the largest number; all that there are when None.
        measures: their names.
        resamples: of intervals and tests.

    Raises:
        InputError: there are no queries, or their sums alone are known.
    """
    full = queries_system(bench, layout, hybrid=hybrid)
    settings = settings_of(ALPHAS if alpha is None else (alpha,))
    none = replace(NONE, name="0 queries", hybrid=hybrid)
    baseline = tuned_of(bench, none, [Setting()], measures).scores
    found = [baseline]
    notes = []
    for number in range(1, min(most or bench.most_queries, bench.most_queries) + 1):
        name = f"{number} {'query' if number == 1 else 'queries'}"
        system = replace(full, name=name, first=number)
        tuned = tuned_of(bench, system, settings, measures)
        found.append(tuned.scores)
        if alpha is None:
            notes.append(chosen_of(system, tuned))
    rows = [row for scores in found for row in rows_of(scores, resamples=resamples)]
    compared = compare_all(found[1:], baseline, resamples)
    return Experiment(
        f"queries a language, {told(layout, hybrid=hybrid)}",
        tuple(rows),
        compared,
        tuple(_curve(f"{name} by queries a language", "queries", name, rows) for name in measures),
        (*notes, *(_significant_from(compared, measure) for measure in measures[:1])),
    )


def sweep_languages(
    bench: Bench,
    *,
    hybrid: bool = False,
    alpha: float | None = None,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """Whose queries help: the asker's own language, English, all others, or all as in the paper.

    Raises:
        InputError: there are no queries.
    """
    queries_system(bench, FUSED, hybrid=hybrid)
    languages = bench.query_languages
    others = {own: [each for each in languages if each != own] for own in languages}
    whose = {
        "the asker's language": None,
        "English alone": among(["en"]),
        "all languages": among(languages),
        "all but the asker's": among(others),
    }
    if "en" not in languages:
        del whose["English alone"]
    systems = [
        System(name, "queries", chosen, hybrid=hybrid, heard=chosen)
        for name, chosen in whose.items()
    ]
    none = replace(NONE, hybrid=hybrid)
    baseline = tuned_of(bench, none, [Setting()], measures).scores
    settings = settings_of(ALPHAS if alpha is None else (alpha,))
    found, notes = [baseline], []
    for system in systems:
        tuned = tuned_of(bench, system, settings, measures)
        found.append(tuned.scores)
        if alpha is None:
            notes.append(chosen_of(system, tuned))
    return Experiment(
        told("languages of queries", hybrid=hybrid),
        tuple(row for scores in found for row in rows_of(scores, resamples=resamples)),
        compare_all(found[1:], baseline, resamples),
        (),
        tuple(notes),
    )


def told(layout: str, *, hybrid: bool) -> str:
    """A layout, or what else there is, as titles name it."""
    return layout + HYBRID if hybrid else layout


def queries_system(bench: Bench, layout: str, *, hybrid: bool = False) -> System:
    """What a layout does with queries; the lexical side hears the asker's in either.

    Raises:
        InputError: there are no queries, or no such layout is fused in memory.
    """
    if not bench.trial.queries:
        raise InputError("there are no queries to augment with")
    if layout == PER_LANGUAGE:
        return replace(QUERIES, hybrid=hybrid)
    if layout == FUSED:
        return replace(QUERIES, hybrid=hybrid, languages=among(bench.query_languages))
    raise InputError(f"unknown layout {layout!r}: choose {PER_LANGUAGE} or {FUSED}")


def settings_of(alphas: Sequence[float]) -> list[Setting]:
    """One setting an alpha, those that change least first."""
    return [Setting(alpha) for alpha in sorted(set(alphas))]


def tuned_of(
    bench: Bench, system: System, settings: Sequence[Setting], measures: Sequence[str]
) -> Tuned:
    """A system, cross-validated where there is a choice."""
    if len(settings) == 1:
        [point] = try_settings(bench, system, settings, measures)
        n = len(point.scores.questions)
        return Tuned(point.scores, (point,), ((point.setting, n),), point.setting)
    return cross_validate(bench, system, settings, measures)


def compare_all(
    systems: Sequence[Scores], baseline: Scores, resamples: int
) -> tuple[Comparison, ...]:
    """Systems beside one baseline, corrected for how many they are; none without resamples."""
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


def chosen_of(system: System, tuned: Tuned) -> str:
    """What cross-validation chose, and what is best over all questions, as a sentence."""

    def said(setting: Setting) -> str:
        parts = [f"alpha {setting.alpha:g}"] if system.source else []
        parts += [f"beta {setting.beta:g}"] if system.translated else []
        parts += [f"other languages at {setting.rest:g}"] if system.weighted else []
        return ", ".join(parts)

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
