"""Ways to augment side by side: layouts, controls, translated passages, and the lexical side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.bench import Bench, Setting, System
from xqg_qdrant.evaluation.comparison import Comparison
from xqg_qdrant.evaluation.experiments import (
    ALPHAS,
    BETAS,
    BOTH,
    HYBRID,
    MEASURES,
    MULTIVECTOR,
    NONE,
    PER_LANGUAGE,
    RESTS,
    SENTENCES,
    TRANSLATION,
    TUNABLE,
    Experiment,
    chosen_of,
    compare_all,
    queries_system,
    settings_of,
    tuned_of,
)
from xqg_qdrant.evaluation.measures import Scores, rows_of
from xqg_qdrant.evaluation.statistics import RESAMPLES

_COARSE_ALPHAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3)
"""Where something else is tuned beside alpha."""

_HYBRID_ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1)
_HYBRID_BETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Fewer: to fuse two rankings takes far longer than to add two scores."""


def compare_augmentations(
    bench: Bench,
    *,
    layout: str = PER_LANGUAGE,
    hybrid: bool = True,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """None, own sentences, queries in every layout, the passage in the asker's language, and both.

    All are compared with none; those that cost something with the own sentences, which cost
    nothing; and with ``hybrid``, each again fused with the lexical ranking: with none fused, with
    the control fused, and with itself unfused.

    Args:
        bench: with queries, or with anything else to augment with.
        layout: of ``queries`` and ``both``, ``per-language`` or ``fused``. ``queries, tunable``
            weighs the other languages' queries beside the asker's, ``queries, multivector`` takes
            the best of all; that one is left out where single queries are not known.
        hybrid: each system with the lexical side too.
        measures: their names; the first is what settings are chosen by.
        resamples: of intervals and tests.

    Raises:
        InputError: there is nothing to augment with.
    """
    systems = _systems(bench, layout, hybrid=False)
    if len(systems) == 1:
        raise InputError("there is nothing to augment with: neither queries nor sentences")
    if hybrid:
        systems += _systems(bench, layout, hybrid=True)
    found: dict[str, Scores] = {}
    notes = []
    for system, settings in systems:
        tuned = tuned_of(bench, system, settings, measures)
        found[system.name] = tuned.scores
        if len(settings) > 1:
            notes.append(chosen_of(system, tuned))
    return Experiment(
        "ways to augment",
        tuple(row for scores in found.values() for row in rows_of(scores, resamples=resamples)),
        _compared(found, resamples),
        (),
        tuple(notes),
    )


def _systems(bench: Bench, layout: str, *, hybrid: bool) -> list[tuple[System, Sequence[Setting]]]:
    """The systems that the trial has texts for, each with the settings it is tuned among."""
    trial = bench.trial
    alphas = _HYBRID_ALPHAS if hybrid else _COARSE_ALPHAS
    betas = _HYBRID_BETAS if hybrid else BETAS
    systems: list[tuple[System, Sequence[Setting]]] = [(NONE, [Setting()])]
    if trial.sentences:
        systems.append((SENTENCES, settings_of(ALPHAS)))
    if trial.queries:
        systems.append((queries_system(bench, layout), settings_of(ALPHAS)))
        weighed = [Setting(alpha, rest=rest) for alpha, rest in product(alphas, RESTS)]
        systems.append((TUNABLE, weighed))
        if bench.single_queries:
            systems.append((MULTIVECTOR, [Setting()]))
    if trial.translations:
        systems.append((TRANSLATION, [Setting(beta=beta) for beta in betas]))
    if trial.queries and trial.translations:
        system = replace(queries_system(bench, layout), name=BOTH.name, translated=True)
        systems.append((system, [Setting(*pair) for pair in product(alphas, betas)]))
    if not hybrid:
        return systems
    return [
        (replace(system, name=system.name + HYBRID, hybrid=True), settings)
        for system, settings in systems
    ]


def _compared(found: dict[str, Scores], resamples: int) -> tuple[Comparison, ...]:
    """Each side's systems with its none and its control, and the fused ones with the unfused."""

    def beside(baseline: str, names: Sequence[str]) -> tuple[Comparison, ...]:
        return compare_all([found[name] for name in names], found[baseline], resamples)

    fused = [name for name in found if name.endswith(HYBRID)]
    dense = [name for name in found if name not in fused]
    compared = list(beside(NONE.name, [*dense[1:], *fused]))
    for names, end in ((dense, ""), (fused, HYBRID)):
        if end and names:
            compared += beside(names[0], names[1:])
        control = SENTENCES.name + end
        if control in names:
            compared += beside(control, [name for name in names[1:] if name != control])
    for name in fused[1:]:
        compared += beside(name.removesuffix(HYBRID), [name])
    return tuple(compared)
