"""A folder to ingest in again and again, with what an ingest that nobody disturbs leaves there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.behaviour.conftest import write_corpus
from tests.tiny import build_encoder
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.lexical import SparseVector

ROOT = Path(__file__).resolve().parents[2]
PASSAGES = 160
BATCH_SIZE = 16
CORPORA = {"all": (PASSAGES, 0), "half": (PASSAGES, 0), "other": (PASSAGES, 1), "large": (8_000, 1)}
"""Number of passages and seed of each; the half is every second passage of all."""

COLLECTION = "c"
LAYOUTS: dict[str, tuple[str, ...]] = {
    "dense": (),
    "hybrid": ("--hybrid",),
    "multivector": ("--layout", "multivector"),
}
QUICK_PACE = 0.0
"""Seconds between checkpoints: one after every batch."""

_PATIENCE = 120.0


class Fault(AssertionError):
    """What must not be: something lost in silence, a traceback, an error without a way out."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; negative when a signal ended it.
        out: standard output.
        err: standard error.
    """

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """The end of what it said on standard error."""
        return self.err.strip()[-600:]

    @property
    def words(self) -> str:
        """In a few words."""
        if self.code < 0:
            return signal.Signals(-self.code).name
        return f"exit {self.code}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Before a step of a stage, see :mod:`tests.faults.launcher`."""

    stage: str
    step: int
    pace: float | None = None

    def __str__(self) -> str:
        return f"{self.stage} {self.step}"

    def plan(self) -> dict[str, Any]:
        """As the launcher reads it."""
        row: dict[str, Any] = {"stage": self.stage, "step": self.step}
        return row if self.pace is None else {**row, "pace": self.pace}


@dataclass(frozen=True, slots=True)
class Collection:
    """All there is in a collection: points by id, and its documents."""

    points: dict[str, tuple[str, dict[str, bytes]]]
    documents: dict[str, Any]

    def require_same(self, other: Collection) -> None:
        """Check that another one holds the same.

        Raises:
            Fault: it does not; the message says where they part.
        """
        mine, theirs = self.points.keys(), other.points.keys()
        if mine != theirs:
            raise Fault(f"{len(mine - theirs)} points are missing, {len(theirs - mine)} too many")
        for key, (payload, vectors) in self.points.items():
            if other.points[key][0] != payload:
                raise Fault(f"point {key} has another payload: {other.points[key][0]}")
            if other.points[key][1] != vectors:
                differing = [n for n in vectors if other.points[key][1].get(n) != vectors[n]]
                raise Fault(f"point {key} has other vectors: {differing}")
        if self.documents != other.documents:
            raise Fault(f"documents differ: {self.documents} and {other.documents}")


@dataclass(slots=True)
class Workspace:
    """Corpora, an encoder, and collections to spoil.

    Attributes:
        folder: where all is.
    """

    folder: Path
    _wholes: dict[tuple[str, ...], Collection] = field(default_factory=dict)
    _steps: dict[tuple[tuple[str, ...], float | None], dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        build_encoder(self.folder / "models" / "tiny")

    @property
    def spoilt(self) -> Path:
        """The location that faults are done to."""
        return self.folder / "spoilt"

    def clear(self) -> None:
        """Nothing at the location that faults are done to."""
        shutil.rmtree(self.spoilt, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Of the processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XQG_", "QDRANT_"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "XQG_MODELS": str(self.folder / "models"),
            "XQG_ENCODER": "tiny",
            "OMP_NUM_THREADS": "1",
        }

    def ingest(
        self,
        layout: Sequence[str],
        *more: str,
        corpus: str = "all",
        to: Path | None = None,
    ) -> list[str]:
        """Arguments of an ingest."""
        number, seed = CORPORA[corpus]
        folder = self.folder / corpus
        if not folder.exists():
            folder.mkdir()
            files = write_corpus(folder, number, seed=seed)
            for file in files if corpus == "half" else ():
                _keep_every_second(file)
        passages, queries = folder / "passages.jsonl", folder / "queries.jsonl"
        target = self.spoilt if to is None else to
        return [
            *("ingest", str(passages), "--queries", str(queries), "--to", str(target)),
            *("-c", COLLECTION, "--batch-size", str(BATCH_SIZE), "--threads", "1", "-q"),
            *layout,
            *more,
        ]

    def start(
        self,
        arguments: Sequence[str],
        plan: dict[str, Any] | None = None,
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start ``xqg``; under the launcher if there is a plan."""
        program = (
            ["-c", "from xqg_qdrant.cli import main; main()"]
            if plan is None
            else ["-m", "tests.faults.launcher", json.dumps(plan)]
        )
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env={**self.environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: Sequence[str], plan: dict[str, Any] | None = None, **environment: str
    ) -> Ended:
        """Run ``xqg`` to its end."""
        return finish(self.start(arguments, plan, **environment))

    def run_signalled(
        self, arguments: Sequence[str], moment: Moment, number: signal.Signals
    ) -> Ended:
        """Run it, and send it a signal at a moment."""
        return self.run(arguments, {**moment.plan(), "signal": int(number)})

    @contextmanager
    def paused(self, arguments: Sequence[str], moment: Moment) -> Iterator[subprocess.Popen[str]]:
        """A process that stands still at a moment, and goes on when the block ends.

        Where the moment never comes, the block finds it ended.
        """
        process = self.start(arguments, {**moment.plan(), "signal": int(signal.SIGSTOP)})
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            process.send_signal(signal.SIGCONT)

    def steps(
        self, layout: Sequence[str], pace: float | None, *more: str, base: str | None = None
    ) -> dict[str, int]:
        """How many steps an undisturbed ingest has in each stage.

        Args:
            layout: its arguments.
            pace: of its checkpoints.
            more: other arguments.
            base: a corpus that is in already.
        """
        key = ((*layout, *more, base or ""), pace)
        if key not in self._steps:
            target, record = self.folder / "counted", self.folder / "steps.json"
            shutil.rmtree(target, ignore_errors=True)
            if base is not None:
                self.must(self.run(self.ingest(layout, corpus=base, to=target)))
            plan: dict[str, Any] = {"record": str(record)}
            if pace is not None:
                plan["pace"] = pace
            self.must(self.run(self.ingest(layout, *more, to=target), plan))
            self._steps[key] = json.loads(record.read_text(encoding="utf-8"))
            shutil.rmtree(target)
        return self._steps[key]

    def whole(self, layout: Sequence[str], *, base: str | None = None) -> Collection:
        """What ingests that nobody disturbs leave: of all, after ``base`` if there is one."""
        key = (*layout, base or "")
        if key not in self._wholes:
            target = self.folder / "whole"
            shutil.rmtree(target, ignore_errors=True)
            for corpus in (base, "all"):
                if corpus is not None:
                    self.must(self.run(self.ingest(layout, corpus=corpus, to=target)))
            self._wholes[key] = read_collection(target)
            shutil.rmtree(target)
        return self._wholes[key]

    @staticmethod
    def must(ended: Ended) -> Ended:
        """Check that a process ended well.

        Raises:
            Fault: it did not.
        """
        if ended.code:
            raise Fault(f"{ended.words}: {ended.told}")
        return ended


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process, and read what it says.

    Raises:
        Fault: it does not end.
    """
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Fault(f"still running after {_PATIENCE:.0f} s: {process.communicate()[1]}") from None
    return Ended(process.returncode, out, err)


def read_collection(location: Path, name: str = COLLECTION) -> Collection:
    """All there is in an embedded collection.

    Raises:
        Fault: its last ingest did not end well.
        XqgError: it cannot be read.
    """
    with EdgeEngine(location) as engine:
        points = {
            point.id: (
                json.dumps(point.payload, sort_keys=True),
                {
                    name: json.dumps(vector.to_json()).encode()
                    if isinstance(vector, SparseVector)
                    else vector.tobytes()
                    for name, vector in point.vectors.items()
                },
            )
            for point in engine.scroll(name, with_vectors=True)
        }
        if engine.count(name) != len(points):
            raise Fault(f"{engine.count(name)} points are counted, {len(points)} are read")
        journal = engine.read_document(name, "journal") or {}
        if not journal.get("complete"):
            raise Fault(f"the journal says that the ingest is not complete: {journal}")
        documents = {
            key: engine.read_document(name, key) for key in ("manifest", "statistics", "lexical")
        }
    return Collection(points, documents)


def _keep_every_second(file: Path) -> None:
    """Leave out passages with even numbers, and their queries."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [(json.loads(line), line) for line in lines]
    kept = [line for row, line in rows if int(row.get("id", row.get("passage_id"))[1:]) % 2]
    file.write_text("".join(kept), encoding="utf-8")


def nap(rng: random.Random, most: float) -> None:
    """Sleep for a drawn time."""
    time.sleep(rng.uniform(0, most))
