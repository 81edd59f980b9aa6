"""A few hundred spoilt files against all readers; XQG_FUZZ=200 makes it that many a target."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs the parquet extra")
pytest.importorskip("openai", reason="needs the endpoint extra")

from tests.bad_input.fuzz import running, servers
from tests.bad_input.fuzz.oracle import Bad
from tests.bad_input.fuzz.readers import Target
from tests.bad_input.fuzz.running import Outcome, run, run_here, seeds_of, table
from tests.bad_input.fuzz.targets import ALL
from xqg_qdrant import InputError

_DEAR = ("server", "points", "model", "answers:")
_LONG = int(os.environ.get("XQG_FUZZ", "0"))


def _count(target: Target) -> int:
    if _LONG:
        return _LONG
    if target.name.startswith("edge"):
        return 2
    return 6 if target.risky or target.name.startswith(_DEAR) else 15


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    # The seeds are the same each time, so that what native code does with them is known: no
    # processes of their own, unless there are many more.
    runner = run if _LONG else run_here
    return [runner(each, seeds_of(each, 0, _count(each))) for each in ALL.values()]


def test_no_reader_crashes_or_accepts_what_is_bad(
    outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    told = table(outcomes)
    with capsys.disabled():
        print(f"\n{told}")
    assert not any(each.crashes or each.silent for each in outcomes), told
    inputs = sum(each.inputs for each in outcomes)
    bad = sum(each.bad for each in outcomes)
    assert inputs >= (1_000 if _LONG >= 30 else 300)
    assert bad > inputs / 3  # else nothing was tried
    assert sum(each.accepted for each in outcomes) > inputs / 20  # nor that, had all been refused
    assert sum(each.refused for each in outcomes) >= bad


def _target(read: Any, **changed: Any) -> Target:
    def check(data: bytes) -> None:
        if data != b"fine":
            raise Bad("not fine")

    settings = {
        "name": "planted",
        "file": "f",
        "make": lambda rng: rng.choice([b"fine", b"bad"]),
        "read": read,
        "check": check,
    }
    return Target(**(settings | changed))


def _strict(folder: Path) -> list[Any]:
    if (folder / "f").read_bytes() != b"fine":
        raise InputError("not fine")
    return ["fine"]


def test_the_harness_tells_refused_from_accepted() -> None:
    outcome = run_here(_target(_strict), range(40))
    assert (outcome.inputs, outcome.silent, outcome.crashes) == (40, [], [])
    assert outcome.bad == outcome.refused > 5
    assert outcome.accepted == 40 - outcome.bad


def test_the_harness_finds_silent_acceptance_and_crashes() -> None:
    outcome = run_here(_target(lambda folder: ["whatever"]), range(40))
    assert len(outcome.silent) == outcome.bad > 5
    assert run_here(_target(lambda folder: [None], check=lambda data: None), range(3)).silent

    def crash(folder: Path) -> list[Any]:
        return [json.loads((folder / "f").read_bytes())]

    outcome = run_here(_target(crash), range(10))
    assert len(outcome.crashes) == 10
    assert "JSONDecodeError" in outcome.crashes[0]
    assert "planted: crash: seed" in table([outcome])


def test_answers_that_nobody_spoilt_are_accepted(tmp_path: Path) -> None:
    for target, data in zip(servers.TARGETS, servers.UNSPOILT, strict=True):
        (tmp_path / target.file).write_bytes(data)
        assert target.read(tmp_path) == ["answered"]  # else spoilt ones would try nothing


def test_a_process_that_dies_is_a_crash_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(command: list[str], **options: Any) -> Any:
        seeds = command[command.index("planted") + 1 :]

        class Done:
            returncode = -11 if "7" in seeds else 0
            stdout = json.dumps({"target": "planted", "inputs": len(seeds)})

        return Done

    monkeypatch.setattr(running.subprocess, "run", dies)
    outcome = run(_target(_strict, risky=True), range(30))
    assert outcome.inputs == 30
    assert outcome.crashes == ["seed 7: the process ended with -11"]


def test_a_seed_makes_the_same_file_again() -> None:
    for target in ALL.values():
        files = {target.make(random.Random("5")) for _ in range(2)}
        assert len(files) == 1, target.name
