"""Runs scenarios one after the other, and compares what they leave."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.scenarios import SCENARIOS, Case, Skipped, layouts_in_turn
from tests.faults.workspace import LAYOUTS, Fault, Workspace, read_collection
from xqg_qdrant.errors import XqgError


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run.

    Attributes:
        number: of the run.
        scenario: its name.
        layout: its name.
        told: what happened, step by step.
        skipped: why it could not be run here, if so.
        fault: what was wrong, if anything was.
        seconds: that it took.
    """

    number: int
    scenario: str
    layout: str
    told: tuple[str, ...]
    skipped: str | None
    fault: str | None
    seconds: float

    def __str__(self) -> str:
        state = "FAULT" if self.fault else "skipped" if self.skipped else "same"
        steps = "; ".join((*self.told, *filter(None, (self.skipped, self.fault))))
        return f"{self.number:>4} {state:7} {self.scenario} ({self.layout}): {steps}"


def run_faults(
    folder: Path,
    runs: int,
    seed: int,
    *,
    only: str = "",
    first: int = 0,
    tell: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Spoil an ingest in many ways, and see that the same comes out each time.

    Args:
        folder: an empty one to work in.
        runs: how many.
        seed: of all that is drawn; a run depends on it and on its number alone.
        only: scenarios whose name holds this.
        first: number of the first run.
        tell: is called after each.
    """
    ws = Workspace(folder)
    scenarios = [each for each in SCENARIOS if only in each.__name__]
    results = []
    for number in range(first, first + runs):
        scenario = scenarios[number % len(scenarios)]
        layout = layouts_in_turn(tuple(LAYOUTS.values()), number)
        case = Case(ws, random.Random(f"{seed} {number}"), layout, number)
        ws.clear()
        began = time.monotonic()
        fault = skipped = None
        try:
            scenario(case)
            ws.whole(layout, base=case.base).require_same(read_collection(ws.spoilt))
        except Skipped as error:
            skipped = str(error)
        except (Fault, XqgError) as error:
            fault = f"{type(error).__name__}: {error}"
        results.append(
            Result(
                number,
                scenario.__name__,
                next(name for name, each in LAYOUTS.items() if each == layout),
                tuple(case.told or ()),
                skipped,
                fault,
                time.monotonic() - began,
            )
        )
        tell(results[-1])
    return results


def summary(results: list[Result]) -> str:
    """A table: runs of each scenario, and how they went."""
    runs = Counter(each.scenario for each in results)
    same = Counter(each.scenario for each in results if not each.fault and not each.skipped)
    skipped = Counter(each.scenario for each in results if each.skipped)
    faults = Counter(each.scenario for each in results if each.fault)
    width = max(map(len, runs))
    lines = [f"{'scenario':{width}}  runs  same  skipped  faults"]
    lines += [
        f"{name:{width}}  {runs[name]:>4}  {same[name]:>4}  {skipped[name]:>7}  {faults[name]:>6}"
        for name in sorted(runs)
    ]
    total = [sum(each.values()) for each in (runs, same, skipped, faults)]
    lines.append(f"{'all':{width}}  {total[0]:>4}  {total[1]:>4}  {total[2]:>7}  {total[3]:>6}")
    return "\n".join(lines)
