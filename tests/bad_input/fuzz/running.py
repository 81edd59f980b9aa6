"""Running targets, and counting what came of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bad_input.fuzz.oracle import Bad
from tests.bad_input.fuzz.readers import Target, records_are_good
from xqg_qdrant import XqgError

SECONDS = 300.0
"""For one process of risky inputs; more is a crash."""

_CHUNK = 25


@dataclass
class Outcome:
    """What came of one target's inputs.

    Attributes:
        target: its name.
        inputs: spoilt files.
        bad: those of them that the oracle finds bad.
        refused: by an error of ours.
        accepted: valid still, and read.
        silent: what was bad and accepted, with the seed that makes it again.
        crashes: what ended otherwise, with the seed.
    """

    target: str
    inputs: int = 0
    bad: int = 0
    refused: int = 0
    accepted: int = 0
    silent: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.inputs += other.inputs
        self.bad += other.bad
        self.refused += other.refused
        self.accepted += other.accepted
        self.silent += other.silent
        self.crashes += other.crashes


def run(target: Target, seeds: Sequence[int]) -> Outcome:
    """Run a target on the inputs of these seeds; a risky one in processes of their own."""
    outcome = Outcome(target.name)
    if not target.risky:
        return run_here(target, seeds)
    for start in range(0, len(seeds), _CHUNK):
        outcome.add(_run_apart(target, seeds[start : start + _CHUNK]))
    return outcome


def run_here(target: Target, seeds: Sequence[int]) -> Outcome:
    """Run a target in this process."""
    outcome = Outcome(target.name)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder)
        target.prepare(root)
        for seed in seeds:
            _one(target, root, seed, outcome)
    return outcome


def _one(target: Target, root: Path, seed: int, outcome: Outcome) -> None:
    data = target.make(random.Random(f"{target.name} {seed}"))
    (root / target.file).write_bytes(data)
    try:
        target.check(data)
        reason = ""
    except Bad as error:
        reason = str(error) or "bad"
    outcome.inputs += 1
    outcome.bad += bool(reason)
    try:
        records_are_good(target.read(root))
    except XqgError as error:
        outcome.refused += 1
        message = str(error)
        if "Traceback" in message or len(message) > 100_000:
            outcome.crashes.append(f"seed {seed}: no message for people: {message[:200]!r}")
    except Bad as error:
        outcome.silent.append(f"seed {seed}: {error}")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
        outcome.crashes.append(f"seed {seed}: {told}")
    else:
        if reason:
            outcome.silent.append(f"seed {seed}: {reason}: {data[:200]!r}")
        else:
            outcome.accepted += 1


def _run_apart(target: Target, seeds: Sequence[int]) -> Outcome:
    command = [sys.executable, "-m", "tests.bad_input.fuzz", "--child", target.name]
    try:
        done = subprocess.run(
            [*command, *map(str, seeds)],
            cwd=Path(__file__).resolve().parents[3],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -9
    if code > 0:  # not of what is tested: it catches all errors
        raise RuntimeError(f"{target.name}, seeds {seeds}: {done.stderr}")
    if code == 0:
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))
    if len(seeds) > 1:  # find the one that ended it
        outcome = Outcome(target.name)
        for seed in seeds:
            outcome.add(_run_apart(target, [seed]))
        return outcome
    told = f"seed {seeds[0]}: the process ended with {code}"
    return Outcome(target.name, inputs=1, crashes=[told])


def child(target: Target, seeds: Sequence[int]) -> None:
    """Run a target, and print the outcome as JSON."""
    outcome: dict[str, Any] = asdict(run_here(target, seeds))
    print(json.dumps(outcome), flush=True)


def seeds_of(target: Target, first: int, count: int) -> list[int]:
    """Different ones for every target."""
    offset = zlib.crc32(target.name.encode()) % 1_000_000
    return [offset + first + number for number in range(count)]


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes for people, crashes and silent acceptances told one by one."""
    rows = [f"{'target':<26} inputs    bad refused accepted silent crashes"]
    total = Outcome("all")
    for each in outcomes:
        total.add(each)
    for each in (*outcomes, total):
        counts = f"{each.inputs:>6} {each.bad:>6} {each.refused:>7} {each.accepted:>8}"
        rows.append(f"{each.target:<26} {counts} {len(each.silent):>6} {len(each.crashes):>7}")
    for each in outcomes:
        rows += [f"{each.target}: silently accepted: {told}" for told in each.silent]
        rows += [f"{each.target}: crash: {told}" for told in each.crashes]
    return "\n".join(rows)
