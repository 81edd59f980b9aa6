"""Ingests that are spoilt in many ways, a few of them here; all: ``python -m tests.faults``."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.runner import run_faults, summary
from tests.faults.scenarios import SCENARIOS, check_clear, damage
from tests.faults.workspace import Collection, Ended, Fault

RUNS = int(os.environ.get("XQG_FAULTS", "5"))
"""Set XQG_FAULTS=50 for the long suite."""

SEED = 20230723


def test_nothing_is_lost_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {each.__name__ for each in SCENARIOS[:5]} == {
        "killed_at_a_boundary",
        "documents_damaged",
        "killed_at_random",
        "two_writers",
        "folder_removed_meanwhile",
    }
    results = run_faults(tmp_path, RUNS, SEED)
    told = "\n".join(map(str, results))
    assert not any(each.fault for each in results), told
    assert len(results) == RUNS
    with capsys.disabled():
        if RUNS > 5:
            print(f"\n{told}\n{summary(results)}")


POINT = ('{"text": "a"}', {"passage": b"1234"})


@pytest.mark.parametrize(
    ("points", "documents", "message"),
    [
        ({}, {}, "1 points are missing"),
        ({"a": POINT, "b": POINT}, {}, "1 too many"),
        ({"a": ("{}", POINT[1])}, {}, "another payload"),
        ({"a": (POINT[0], {"passage": b"1235"})}, {}, r"other vectors: \['passage'\]"),
        ({"a": POINT}, {"statistics": {"passages": 2}}, "documents differ"),
    ],
)
def test_a_difference_is_seen(
    points: dict[str, tuple[str, dict[str, bytes]]], documents: dict[str, object], message: str
) -> None:
    whole = Collection({"a": POINT}, {})
    whole.require_same(whole)
    with pytest.raises(Fault, match=message):
        whole.require_same(Collection(points, documents))


@pytest.mark.parametrize(
    "ended",
    [
        Ended(1, "", "Traceback (most recent call last): …\nError: no"),
        Ended(1, "", ""),
        Ended(-7, "", ""),
        Ended(2, "", "Error: no such option"),
    ],
    ids=["traceback", "silence", "crash", "usage"],
)
def test_an_unclear_end_is_seen(ended: Ended) -> None:
    with pytest.raises(Fault, match="no clear error"):
        check_clear(ended)


def test_damage_is_damage(tmp_path: Path) -> None:
    seen = set()
    for seed in range(60):
        file = tmp_path / "f"
        file.write_bytes(b"0123456789")
        seen.add(damage(file, random.Random(seed)))
        assert not file.exists() or file.read_bytes() != b"0123456789"
    assert seen == {"cut", "emptied", "removed", "bit flipped"}
