"""What is done to an ingest, and how it is brought to its end afterwards.

A scenario spoils something, runs the same ingest again (and carries out the fix where there is an
error that names one), and returns in a few words what happened. The runner then compares what is
there with what an undisturbed ingest leaves.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.workspace import (
    COLLECTION,
    QUICK_PACE,
    Ended,
    Fault,
    Moment,
    Workspace,
    finish,
    nap,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STAGES = ("staging", "creating", "loading", "checkpoint", "optimizing", "finishing", "closing")
_LOADING_SECONDS = 0.25
"""About what it takes to load the corpus."""

_ROUNDS = 4
_RESERVE = 128 * 2**20
"""What the embedded engine always leaves free."""


class Skipped(Exception):
    """This machine cannot do it; the message says why."""


@dataclass(slots=True)
class Case:
    """One run of a scenario.

    Attributes:
        ws: the workspace, cleared.
        rng: for all that is drawn.
        layout: arguments of the layout.
        number: of the run; stages and signals take turns by it.
        base: a corpus that was loaded before, for comparison.
        told: what happened, step by step.
    """

    ws: Workspace
    rng: random.Random
    layout: tuple[str, ...]
    number: int
    base: str | None = None
    told: list[str] | None = None

    def tell(self, what: str) -> None:
        """Note what happened."""
        self.told = [*(self.told or []), what]

    def stage(self) -> str:
        """The stages take turns."""
        return STAGES[self.number % len(STAGES)]

    def signal(self) -> signal.Signals:
        """The signals take turns, with every stage."""
        return SIGNALS[(self.number // len(STAGES) + self.number) % len(SIGNALS)]

    def moment(self, stage: str | None = None, *, boundary: bool = False) -> Moment:
        """A step of a stage: the first or last one, or any."""
        pace = self.rng.choice([QUICK_PACE, None])
        steps = self.ws.steps(self.layout, pace, base=self.base)
        missing = [each for each in STAGES if each not in steps]
        if missing:
            raise Fault(f"no step was seen of {missing}: bring tests/faults/launcher.py up to date")
        chosen = self.stage() if stage is None else stage
        last = steps[chosen]
        step = self.rng.choice([1, last]) if boundary else self.rng.randint(1, last)
        return Moment(chosen, step, pace)

    def first(self, stage: str) -> Moment:
        """The first step of a stage."""
        return Moment(stage, 1)

    def stop(self, moment: Moment, number: signal.Signals, *more: str) -> Ended:
        """An ingest that gets a signal at a moment."""
        ended = self.ws.run_signalled(self.ws.ingest(self.layout, *more), moment, number)
        self.tell(f"{number.name} at {moment}: {ended.words}")
        check_stopped(ended, number)
        return ended

    def resume(self, *more: str) -> None:
        """Run the same again; after a mere kill that must do.

        Raises:
            Fault: it does not.
        """
        told = len(self.told or [])
        self.finish(*more)
        if len(self.told or []) > told + 1:
            raise Fault("the same again did not do")

    def finish(self, *more: str) -> Ended:
        """Run the same again until it is through, carrying out the fixes that errors name."""
        arguments = self.ws.ingest(self.layout, *more)
        for _ in range(_ROUNDS):
            ended = self.ws.run(arguments)
            if ended.code == 0:
                resumed = "resumed after" in ended.out
                self.tell("rerun: resumed" if resumed else "rerun: from the first passage")
                return ended
            check_clear(ended)
            arguments = self._carry_out(ended.err)
        raise Fault(f"the fix that is named does not work: {ended.told}")

    def _carry_out(self, error: str) -> list[str]:
        """Do what an error says, and return the arguments to go on with."""
        again = self.ws.ingest(self.layout)
        fixes: list[tuple[str, Callable[[], list[str]]]] = []
        if "--restart" in error:
            fixes.append(("--restart", lambda: [*again, "--restart"]))
        if "xqg delete" in error:
            fixes.append(("xqg delete", lambda: self._delete(again)))
        if found := re.search(r"(/\S+) is in the way", error):
            fixes.append(("moved away", lambda: self._move(Path(found[1]), again)))
        # Where there is more to do, "again" is the end of it and no fix by itself.
        if not fixes and re.search(r"run the same( command)? again|ingest the same again", error):
            fixes.append(("again", lambda: again))
        if not fixes:
            raise Fault(f"an error that names no fix: {error}")
        name, fix = self.rng.choice(fixes)
        self.tell(f"error, fix: {name} ({error.strip().splitlines()[0][:160]})")
        return fix()

    def _delete(self, again: list[str]) -> list[str]:
        where = ("--from", str(self.ws.spoilt), "-c", COLLECTION, "--yes")
        self.ws.must(self.ws.run(["delete", *where]))
        return again

    def _move(self, path: Path, again: list[str]) -> list[str]:
        path.rename(self.ws.folder / f"moved-{time.monotonic_ns()}")
        return again


def check_stopped(ended: Ended, number: signal.Signals) -> None:
    """Check that a process that got a signal ended as it should have.

    Raises:
        Fault: it did not.
    """
    if number == signal.SIGKILL:
        if ended.code not in (-signal.SIGKILL, 0):  # 0: it was through already
            raise Fault(f"{ended.words} after SIGKILL: {ended.told}")
    elif ended.code and not _outside_the_work(ended, number):
        check_clear(ended)


def _outside_the_work(ended: Ended, number: signal.Signals) -> bool:
    """Whether it came when all was done but the telling, or told: signals then do as always."""
    if "Traceback" in ended.err:
        return False
    if ended.code == -number:
        return True
    return number == signal.SIGINT and "Aborted!" in ended.err and "Error:" not in ended.err


def check_clear(ended: Ended) -> None:
    """Check that a failure is told in words, not by a traceback.

    Raises:
        Fault: it is not.
    """
    if ended.code != 1 or "Traceback" in ended.err or "Error:" not in ended.err:
        raise Fault(f"{ended.words}, no clear error: {ended.told or ended.out}")


def killed_at_a_boundary(case: Case) -> None:
    """A signal before the first or the last step of a stage."""
    case.stop(case.moment(boundary=True), case.signal())
    case.resume()


def killed_within_a_stage(case: Case) -> None:
    """A signal at any step of a stage."""
    case.stop(case.moment(), case.signal())
    case.resume()


def killed_at_random(case: Case) -> None:
    """A signal from outside at any time of the loading, within calls of the engine too."""
    number = case.signal()
    with case.ws.paused(case.ws.ingest(case.layout), case.first("loading")) as process:
        pass
    nap(case.rng, _LOADING_SECONDS)
    process.send_signal(number)
    ended = finish(process)
    case.tell(f"{number.name} from outside: {ended.words}")
    check_stopped(ended, number)
    case.resume()


def killed_again(case: Case) -> None:
    """Killed, run again and killed again, two or three times."""
    for _ in range(case.rng.randint(2, 3)):
        case.stop(case.moment(case.rng.choice(STAGES)), case.rng.choice(SIGNALS))
    case.resume()


def killed_while_it_winds_up(case: Case) -> None:
    """Ctrl-C, and something worse right after."""
    with case.ws.paused(case.ws.ingest(case.layout), case.moment("loading")) as process:
        process.send_signal(signal.SIGINT)
    nap(case.rng, 0.02)
    number = case.rng.choice(SIGNALS)
    process.send_signal(number)
    ended = finish(process)
    case.tell(f"SIGINT, {number.name}: {ended.words}")
    check_stopped(ended, number)
    case.resume()


def killed_in_a_restart(case: Case) -> None:
    """Killed, begun again with ``--restart``, killed again; the end without or with it."""
    case.stop(case.moment("loading"), signal.SIGKILL)
    case.stop(case.moment(case.rng.choice(STAGES)), case.signal(), "--restart")
    case.resume(*case.rng.choice([(), ("--restart",)]))


def killed_adding(case: Case) -> None:
    """Killed while more passages join a collection that is complete."""
    case.base = "half"
    case.ws.must(case.ws.run(case.ws.ingest(case.layout, corpus=case.base)))
    case.stop(case.moment(), case.signal())
    case.resume()


def documents_damaged(case: Case) -> None:
    """A document is cut, emptied, removed, or one of its bits flips, before or after the end."""
    _begin(case)
    folder = case.ws.spoilt / COLLECTION
    files = [*sorted((folder / "documents").glob("*.json")), folder / "collection.json"]
    file = case.rng.choice(files)
    case.tell(f"{file.name} {damage(file, case.rng)}")
    case.finish()


def journal_damaged(case: Case) -> None:
    """The journal of an unfinished ingest is cut, emptied, or one of its bits flips."""
    case.stop(case.moment("loading"), signal.SIGKILL)
    file = case.ws.spoilt / COLLECTION / "documents" / "journal.json"
    case.tell(f"journal {damage(file, case.rng)}")
    case.finish()


def vectors_damaged(case: Case) -> None:
    """Bits flip in stored vectors, which no checksum guards: loading the same again mends them."""
    case.ws.must(case.ws.run(case.ws.ingest(case.layout)))
    shard = case.ws.spoilt / COLLECTION / "shard"
    files = [path for path in sorted(shard.rglob("vectors/chunk_*.mmap")) if path.is_file()]
    if not files:
        raise Fault(f"no file of vectors is known in {shard}: bring this scenario up to date")
    file = case.rng.choice(files)
    data = bytearray(file.read_bytes())
    used = len(data.rstrip(b"\0"))
    for _ in range(20):
        data[case.rng.randrange(used)] ^= 1 << case.rng.randrange(8)
    file.write_bytes(data)
    case.tell(f"20 bits of {file.parent.parent.name} flipped")
    case.finish()


def folder_removed(case: Case) -> None:
    """The collection's folder, or a part of it, goes away between two runs."""
    _begin(case)
    part = case.rng.choice(["", "shard", "documents", "collection.json"])
    _remove(case.ws.spoilt / COLLECTION / part)
    case.tell(f"{part or 'all'} removed")
    case.finish()


def folder_removed_meanwhile(case: Case) -> None:
    """The collection's folder, or a part of it, goes away while an ingest runs."""
    stage = case.rng.choice(["loading", "checkpoint", "optimizing"])
    part = case.rng.choice(["", "shard", "documents", "collection.json"])
    with case.ws.paused(case.ws.ingest(case.layout), case.moment(stage)) as process:
        ran = process.poll() is None
        _remove(case.ws.spoilt / COLLECTION / part)
    ended = finish(process)
    case.tell(f"{part or 'all'} removed while {stage}: {ended.words}")
    if ended.code == 0 and ran:
        raise Fault("the collection was removed while it was loaded, and nobody was told")
    if ended.code == 0:
        raise Skipped("the moment never came")
    check_clear(ended)
    case.finish()


def two_writers(case: Case) -> None:
    """Two ingests of the same at once, perhaps one with ``--restart``."""
    if case.rng.random() < 0.3:
        case.stop(case.moment("loading"), signal.SIGKILL)
    more = case.rng.choice([(), ("--restart",)])
    first = case.ws.start(case.ws.ingest(case.layout))
    nap(case.rng, 0.3)
    second = case.ws.start(case.ws.ingest(case.layout, *more))
    both = [finish(first), finish(second)]
    case.tell(f"two at once: {both[0].words}, {both[1].words}")
    for ended in both:
        if ended.code:
            check_clear(ended)
    if all(ended.code for ended in both):
        case.tell("neither came through")
    case.finish()


def two_writers_of_different_things(case: Case) -> None:
    """One ingest runs, another one with other input begins; the first is run again."""
    with case.ws.paused(case.ws.ingest(case.layout), case.moment("loading")) as process:
        intruder = case.ws.run(case.ws.ingest(case.layout, corpus="other"))
    ended = finish(process)
    case.tell(f"another input at once: {ended.words}, {intruder.words}")
    for each in (ended, intruder):
        if each.code:
            check_clear(each)
    if ended.code and not intruder.code:
        raise Fault(f"the one that came second has the collection: {ended.told}")
    if ended.code:
        raise Fault(f"the first one was disturbed by a second that was refused: {ended.told}")
    if intruder.code == 0:  # it came when the other was through: what it brought is in by right
        raise Skipped("the second ingest came too late")
    case.finish()


def disk_filled(case: Case) -> None:
    """The disk fills up while an ingest runs: to the reserve, or to the last byte."""
    case.ws.clear()
    with small_disk(case.ws.spoilt, 400):
        leave = case.rng.choice([_RESERVE - 2**20, _RESERVE // 2, 0])
        filler = case.ws.spoilt / "filler"
        stage = case.rng.choice(["loading", "loading", "checkpoint", "optimizing", "finishing"])
        with case.ws.paused(case.ws.ingest(case.layout), case.moment(stage)) as process:
            _fill(filler, leave)
        ended = finish(process)
        case.tell(f"disk full but {leave // 2**20} MiB while {stage}: {ended.words}")
        if ended.code not in (0, -signal.SIGBUS):
            check_clear(ended)
            if "make room" not in ended.err and "No space left" not in ended.err:
                raise Fault(f"a full disk, told as: {ended.told}")
        if ended.code and leave < _RESERVE:
            full = case.ws.run(case.ws.ingest(case.layout))
            case.tell(f"rerun on the full disk: {full.words}")
            check_clear(full)
            if "make room" not in full.err:
                raise Fault(f"a full disk, told as: {full.told}")
        filler.unlink()
        case.finish()
        # Off the small disk, to be compared.
        shutil.copytree(case.ws.spoilt, case.ws.folder / "kept")
    case.ws.clear()
    (case.ws.folder / "kept").rename(case.ws.spoilt)


def temporary_folder_full(case: Case) -> None:
    """There is no room to lay down the input."""
    small = case.ws.folder / "small"
    with small_disk(small, 1):
        filler = small / "filler"
        _fill(filler, case.rng.randrange(64 * 2**10))
        ended = case.ws.run(
            case.ws.ingest(case.layout, corpus="large"), TMPDIR=str(small), SQLITE_TMPDIR=str(small)
        )
        case.tell(f"temporary folder full: {ended.words}")
        check_clear(ended)
        if "TMPDIR" not in ended.err or case.ws.spoilt.exists():
            raise Fault(f"a full temporary folder, told as: {ended.told}")
    case.finish()


SCENARIOS: tuple[Callable[[Case], None], ...] = (
    killed_at_a_boundary,
    documents_damaged,
    killed_at_random,
    two_writers,
    folder_removed_meanwhile,
    killed_within_a_stage,
    killed_again,
    journal_damaged,
    disk_filled,
    killed_at_a_boundary,
    folder_removed,
    killed_in_a_restart,
    killed_adding,
    killed_while_it_winds_up,
    two_writers_of_different_things,
    killed_within_a_stage,
    temporary_folder_full,
    vectors_damaged,
)
"""In the order in which they take turns."""


def damage(file: Path, rng: random.Random) -> str:
    """Cut, empty, remove a file, or flip one of its bits; return which."""
    data = bytearray(file.read_bytes())
    how = rng.choice(["cut", "emptied", "removed", "bit flipped", "bit flipped", "bit flipped"])
    if how == "removed":
        file.unlink()
        return how
    if how == "bit flipped":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data[: rng.randrange(1, len(data))] if how == "cut" else data)
    if how == "emptied":
        file.write_bytes(b"")
    return how


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A file system of that size.

    Raises:
        Skipped: this user must not mount one.
    """
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Skipped(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(file: Path, leave: int) -> None:
    free = shutil.disk_usage(file.parent).free
    with file.open("wb") as stream:
        if free > leave:
            os.posix_fallocate(stream.fileno(), 0, free - leave)


def _begin(case: Case) -> None:
    """An ingest cut off, or (one time in three) complete."""
    if case.rng.random() < 1 / 3:
        case.ws.must(case.ws.run(case.ws.ingest(case.layout)))
        case.tell("complete")
    else:
        case.stop(case.moment("loading"), signal.SIGKILL)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def layouts_in_turn(layouts: Sequence[tuple[str, ...]], number: int) -> tuple[str, ...]:
    """The layouts take turns, with every scenario."""
    return layouts[(number + number // len(SCENARIOS)) % len(layouts)]
