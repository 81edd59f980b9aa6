"""Charts as inline SVG, for reports: no library, no script, readable in light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from xqg_qdrant.evaluation.comparison import LEVEL, Comparison
from xqg_qdrant.evaluation.experiments import Curve
from xqg_qdrant.evaluation.measures import AVERAGE, Row

SERIES = 7
"""Colours that there are; systems beyond them begin again."""

_STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_TICKS = 5
_WIDTH = 920
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 12, 34


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def top_of(rows: Sequence[Row], measure: str) -> float:
    """How high bars and their intervals go: the scale that charts share."""
    return max([row.high or row.value for row in rows if row.measure == measure], default=1.0)


def bars(rows: Sequence[Row], measure: str, top: float | None = None) -> str:
    """A group of bars a language, a bar a system, with their intervals.

    Args:
        rows: of all measures.
        measure: the one that is shown.
        top: see :func:`top_of`; that of these rows when None.
    """
    taken = [row for row in rows if row.measure == measure]
    systems = list(dict.fromkeys(row.system for row in taken))
    languages = _average_last(row.language for row in taken)
    values = {(row.system, row.language): row for row in taken}
    height = 300.0
    top = top_of(taken, measure) if top is None else top
    y = _Scale(0.0, _nice(top), height - _BOTTOM, _TOP)
    group = (_WIDTH - _LEFT - _RIGHT) / max(len(languages), 1)
    width = min(26.0, group * 0.82 / max(len(systems), 1))
    parts = [*_grid(y, height)]
    for place, language in enumerate(languages):
        middle = _LEFT + group * (place + 0.5)
        if language == AVERAGE:
            parts.append(
                f'<rect class="band" x="{middle - group / 2:.1f}" y="{_TOP}" '
                f'width="{group:.1f}" height="{height - _TOP - _BOTTOM}"/>'
            )
        parts.append(_label(middle, height - 12, language, "middle", bold=language == AVERAGE))
        for number, system in enumerate(systems):
            row = values.get((system, language))
            if row is None:
                continue
            x = middle + (number - len(systems) / 2) * width
            parts.append(
                f'<rect class="s{number % SERIES}" x="{x + 1:.1f}" y="{y(row.value):.1f}" '
                f'width="{width - 2:.1f}" height="{y(0) - y(row.value):.1f}" rx="1.5">'
                f"<title>{escape(_told(row))}</title></rect>"
            )
            if row.low is not None and row.high is not None:
                parts.append(_whisker(x + width / 2, y(row.low), y(row.high)))
    return _svg(height, parts, f"{measure} by language") + _legend(systems)


def lines(curve: Curve) -> str:
    """A line a language, thin, and the average, thick; places along x are evenly spaced.

    Where there is no average, lines are of systems, each in its colour.
    """
    xs = sorted({x for points in curve.lines.values() for x, _ in points})
    names = _average_last(curve.lines)
    height, right = 340.0, max(96.0, 26.0 + 7.0 * max(map(len, names), default=0))
    found = [value for points in curve.lines.values() for _, value in points]
    low, high = min(found, default=0.0), max(found, default=1.0)
    margin = max((high - low) * 0.06, 0.005)
    y = _Scale(max(0.0, low - margin), min(1.0, high + margin), height - _BOTTOM - 14, _TOP)
    x = _Scale(0, max(len(xs) - 1, 1), _LEFT + 10, _WIDTH - right)
    parts = [*_grid(y, height - 14, right)]
    for place, value in enumerate(xs):
        parts.append(_label(x(place), height - 30, f"{value:g}", "middle"))
    parts.append(_label((x(0) + x(len(xs) - 1)) / 2, height - 8, curve.x, "middle"))
    ends = []
    for number, name in enumerate(names):
        points = curve.lines[name]
        kind = "average" if name == AVERAGE else "language"
        if AVERAGE not in names:
            kind = f"l{number % SERIES}"
        path = " ".join(f"{x(xs.index(at)):.1f},{y(value):.1f}" for at, value in points)
        best = max(points, key=lambda point: point[1])
        told = f"{name}: best {best[1]:.3f} at {curve.x} {best[0]:g}"
        parts.append(
            f'<g class="line {kind}"><title>{escape(told)}</title>'
            f'<polyline points="{path}"/>'
            + "".join(
                f'<circle cx="{x(xs.index(at)):.1f}" cy="{y(value):.1f}" '
                f'r="{3.2 if name == AVERAGE else 1.8}"/>'
                for at, value in points
            )
            + "</g>"
        )
        ends.append((y(points[-1][1]), name))
    for spot, name in _spread(ends):
        parts.append(_label(_WIDTH - right + 10, spot + 4, name, "start", bold=name == AVERAGE))
    return _svg(height, parts, curve.title)


def reach_of(compared: Sequence[Comparison]) -> float:
    """How far differences and their intervals go, either way: the scale that charts share."""
    return max([abs(end) for each in compared for end in (each.low, each.high)], default=0.0)


def forest(compared: Sequence[Comparison], reach: float, *, by_system: bool = False) -> str:
    """A row a comparison: the difference and its interval, filled where it is significant.

    Args:
        compared: of one system, baseline and measure, by language; or averages, by system.
        reach: see :func:`reach_of`.
        by_system: rows are called by their systems.
    """
    height = _TOP + 22 * len(compared) + _BOTTOM
    reach = max(reach, 0.01) * 1.05
    step = next((each for each in _STEPS if reach / each < _MOST_TICKS), 0.5)
    ticks = [number * step for number in range(-int(reach / step), int(reach / step) + 1)]
    left, right = 280 if by_system else 110, 210
    x = _Scale(-reach, reach, left, _WIDTH - right)
    bottom = height - _BOTTOM + 6
    parts = []
    for tick in ticks:
        kind = "zero" if tick == 0 else "tick"
        parts.append(f'<line class="{kind}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" ')
        parts.append(f'y2="{bottom}"/>')
        parts.append(_label(x(tick), height - 10, f"{tick:+g}" if tick else "0", "middle"))
    for number, each in enumerate(compared):
        y = _TOP + 22 * number + 11
        significant = each.t_test.holm < LEVEL
        kind = ("up" if each.difference > 0 else "down") if significant else "flat"
        strong = each.language == AVERAGE and not by_system
        name = each.system if by_system else each.language
        parts.append(_label(left - 12, y + 4, name, "end", bold=strong))
        told = (
            f"{name}: {each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}], "
            f"{each.better} questions better, {each.worse} worse"
        )
        parts.append(
            f'<g class="{kind}"><title>{escape(told)}</title>'
            f'<line x1="{x(each.low):.1f}" x2="{x(each.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{x(each.difference):.1f}" cy="{y}" r="{6 if strong else 4.5}"/></g>'
        )
        p = "p < .0001" if each.t_test.holm < 0.0001 else f"p = {each.t_test.holm:.4f}"
        text = f"{each.difference:+.3f}   {p}{' *' if significant else ''}"
        parts.append(_label(_WIDTH - right + 18, y + 4, text, "start", bold=strong))
    return _svg(height, parts, "differences by system" if by_system else "differences by language")


def _average_last(names: Iterator[str] | Mapping[str, object]) -> list[str]:
    found = list(dict.fromkeys(names))
    return [*(name for name in found if name != AVERAGE), *([AVERAGE] * (AVERAGE in found))]


def _nice(value: float) -> float:
    """The next tenth, at most 1."""
    return min(1.0, (int(value * 10 - 1e-9) + 1) / 10)


def _grid(y: _Scale, height: float, right: float = _RIGHT) -> Iterator[str]:
    step = next((each for each in _STEPS if (y.high - y.low) / each < 2 * _MOST_TICKS), 0.2)
    for number in range(math.ceil(y.low / step - 1e-9), math.floor(y.high / step + 1e-9) + 1):
        value = number * step
        yield (
            f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH - right}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        yield _label(_LEFT - 8, y(value) + 4, f"{value:.3g}", "end")


def _whisker(x: float, low: float, high: float) -> str:
    return (
        f'<path class="whisker" d="M{x:.1f},{low:.1f}V{high:.1f}'
        f'M{x - 3:.1f},{low:.1f}h6M{x - 3:.1f},{high:.1f}h6"/>'
    )


def _spread(ends: Sequence[tuple[float, str]], gap: float = 13.0) -> list[tuple[float, str]]:
    """Labels that would overlap, moved apart."""
    placed: list[tuple[float, str]] = []
    for place, name in sorted(ends):
        lowest = placed[-1][0] + gap if placed else place
        placed.append((max(place, lowest), name))
    return placed


def _told(row: Row) -> str:
    interval = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
    return f"{row.system}, {row.language}: {row.value:.3f}{interval}, {row.n:,} questions"


def _label(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    strong = ' class="strong"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{strong}>{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _legend(systems: Sequence[str]) -> str:
    items = "".join(
        f'<li><span class="key k{number % SERIES}"></span>{escape(system)}</li>'
        for number, system in enumerate(systems)
    )
    return f'<ul class="legend">{items}</ul>'
