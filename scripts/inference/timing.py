"""Systems that take turns, and what is said of their times."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

Turn = Callable[[], float]
"""Does one piece of work and says how fast it was, in work a second."""


@dataclass(frozen=True, slots=True)
class System:
    """One of those that take turns.

    Attributes:
        name: as tables have it.
        turn: one turn of it.
        every: it takes part in each round whose number is a multiple of this; for slow ones.
    """

    name: str
    turn: Turn
    every: int = 1


def rate(work: Callable[[], float]) -> Turn:
    """Work a second of something that says how much it did."""

    def turn() -> float:
        began = time.perf_counter()
        done = work()
        return done / (time.perf_counter() - began)

    return turn


def turn_about(
    systems: Sequence[System], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Let all systems do the same work in each of some rounds, so that a busy machine slows all.

    The order moves on by one each round.

    Args:
        systems: that take turns.
        rounds: how many.
        warm: each system has a turn before, which does not count.

    Returns:
        For each system what its turns say, by round; not a number where it took no part.
    """
    figures: dict[str, list[float]] = {system.name: [] for system in systems}
    for number in range(-warm, rounds):
        shift = number % len(systems)
        for system in [*systems[shift:], *systems[:shift]]:
            if number < 0:
                system.turn()
            elif number % system.every:
                figures[system.name].append(math.nan)
            else:
                figures[system.name].append(system.turn())
        progress(f"round {number + 1} of {rounds}")
    return figures


def progress(text: str) -> None:
    """Say on standard error what is going on."""
    click.echo(f"[{time.strftime('%H:%M:%S')}] {text}", err=True)
    sys.stderr.flush()


def spread(values: Sequence[float], digits: int) -> str:
    """Median and quartiles."""
    low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratios(fast: Sequence[float], slow: Sequence[float]) -> list[float]:
    """Ratios round by round, to the turn that came last where one took no part."""
    found = []
    last = math.nan
    for ours, theirs in zip(fast, slow, strict=True):
        last = last if math.isnan(theirs) else theirs
        if not math.isnan(ours):
            found.append(ours / last)
    return found


def times(fast: Sequence[float], slow: Sequence[float]) -> str:
    """Median and quartiles of the ratios."""
    return f"{spread(ratios(fast, slow), 2)}x"


def head(heads: Sequence[str]) -> None:
    """Print the head of a Markdown table."""
    click.echo(f"| {' | '.join(heads)} |")
    click.echo("|---" * len(heads) + "|")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    head(heads)
    for row in rows:
        click.echo(f"| {' | '.join(row)} |")
    click.echo()


def goals(
    figures: Mapping[str, Sequence[float]], wanted: Sequence[tuple[str, str, str, float]]
) -> None:
    """Print what was to be reached beside what was.

    Args:
        figures: by system.
        wanted: what it is about, the system, the other, and how many times as fast it is to be.
    """
    for label, system, other, least in wanted:
        found = ratios(figures[system], figures[other])
        verdict = "reached" if np.median(found) >= least else "missed"
        click.echo(
            f"- {label}: {system} {spread(found, 2)} times {other}, wanted {least:g}: {verdict}"
        )
    click.echo()


def resident() -> float:
    """MiB of memory that this process has in RAM now (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
