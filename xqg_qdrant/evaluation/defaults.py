"""Which alphas an encoder's collections should be built with unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xqg_qdrant.evaluation.bench import Bench
from xqg_qdrant.evaluation.comparison import Comparison
from xqg_qdrant.evaluation.experiments import (
    ALPHAS,
    FUSED,
    MEASURES,
    PER_LANGUAGE,
    Curve,
    Experiment,
    chosen_of,
    compare_all,
    queries_system,
    settings_of,
    told,
    tuned_of,
)
from xqg_qdrant.evaluation.measures import Row, rows_of
from xqg_qdrant.evaluation.statistics import RESAMPLES
from xqg_qdrant.layouts import layout_named

LAYOUTS = (PER_LANGUAGE, FUSED)
"""Those whose vectors are made with an alpha; ``tunable`` takes that of ``per-language``."""


def recommend_alphas(
    bench: Bench,
    *,
    alphas: Sequence[float] = ALPHAS,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
) -> Experiment:
    """For each layout, dense and hybrid, the alpha that is best over all questions.

    They are for other questions than these. What they may be expected to gain over the default is
    what a cross-validated alpha gains, and that is compared with it.

    Args:
        bench: with queries, and development questions: none that figures will be reported on.
        alphas: to try; the default of each layout is always among them.
        measures: their names; the first is what alphas are chosen by.
        resamples: of intervals and tests.

    Returns:
        The experiment; its ``alphas`` are what an encoder's manifest takes.

    Raises:
        InputError: there are no queries, or an alpha is not from 0 to 1.
    """
    rows: list[Row] = []
    compared: list[Comparison] = []
    notes: list[str] = []
    found: dict[str, dict[str, float]] = {}
    lines: dict[str, tuple[tuple[float, float], ...]] = {}
    for layout in LAYOUTS:
        for side, hybrid in (("dense", False), ("hybrid", True)):
            name = told(layout, hybrid=hybrid)
            default = layout_named(layout).chosen_alpha(
                None, hybrid=hybrid, defaults=bench.default_alphas
            )
            system = replace(queries_system(bench, layout, hybrid=hybrid), name=name)
            tuned = tuned_of(bench, system, settings_of([*alphas, default]), measures)
            points = {point.setting.alpha: point for point in tuned.points}
            usual = replace(points[default].scores, system=f"{name}, alpha {default:g}, default")
            chosen = replace(tuned.scores, system=f"{name}, cross-validated")
            for scores in (usual, chosen):
                rows += rows_of(scores, resamples=resamples)
            compared += compare_all([chosen], usual, resamples)
            notes.append(
                f"{chosen_of(system, tuned)} The default of {default:g} has "
                f"{points[default].average:.3f}."
            )
            found.setdefault(layout, {})[side] = tuned.best.alpha
            lines[name] = tuple((alpha, point.average) for alpha, point in sorted(points.items()))
    curve = Curve(f"{measures[0]} by alpha, average over languages", "alpha", measures[0], lines)
    return Experiment("default alphas", tuple(rows), tuple(compared), (curve,), tuple(notes), found)
