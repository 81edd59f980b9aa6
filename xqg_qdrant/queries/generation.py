"""Queries for a corpus: passages to a source, what it writes to a file, with a journal.

A run can be killed at any moment; the same call goes on, and the file ends as if nothing had been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.staging import Staging, counted
from xqg_qdrant.errors import (
    EndpointError,
    InputError,
    ModelError,
    PartialGeneration,
    RayError,
    StorageError,
)
from xqg_qdrant.queries.journal import (
    GrowingFile,
    Journal,
    Rolling,
    journal_path,
    part_path,
    read_journal,
    require_same_passages,
)
from xqg_qdrant.queries.side_file import write_side_file
from xqg_qdrant.queries.source import Source
from xqg_qdrant.records import Passage, Progress

CHECKPOINT_SECONDS = 2.0
"""Between two entries in the journal: what a killed run does again at most, or a window of it."""


@dataclass(frozen=True, slots=True)
class GenerationReport:
    """What a run did, those that it goes on with included.

    Attributes:
        output: the file of queries.
        source: what kind of source wrote them.
        generator: its name.
        passages: in the input, repetitions left out.
        repeated: passages dropped as word-for-word repetitions.
        resumed_at: passages that earlier runs had done.
        queries: written, by language.
        empty: texts dropped because nothing was in them, or nothing that can be stored.
        duplicates: texts dropped because their passage had them already, in that language.
        replaced: further texts that took the place of those dropped.
        missing: queries that were asked for and could not be had, by language.
        counts: what the source tells beside, by its own names.
        written: queries that this run wrote.
        seconds: that this run took.
    """

    output: str
    source: str
    generator: str
    passages: int
    repeated: int
    resumed_at: int
    queries: dict[str, int]
    empty: int
    duplicates: int
    replaced: int
    missing: dict[str, int]
    counts: dict[str, int]
    written: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def generate_queries(
    passages: Iterable[tuple[str, Passage]],
    source: Source,
    out: Path,
    *,
    window: int | None = None,
    force: bool = False,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> GenerationReport:
    """Write queries for passages, in the order of the passages, into a JSONL file.

    The whole input is read and checked first, into a temporary file; memory stays flat. The file
    grows as ``NAME.part`` beside a journal and takes its name once it is whole; ``NAME.meta.json``
    tells what wrote it. Called again after it was cut off, with the same input and source, it goes
    on where it stopped, and the file is the same, byte for byte.

    Args:
        passages: checked passages, each with where it stands.
        source: what writes queries.
        out: the file.
        window: passages that the source gets at a time; the source's own choice when None.
        force: replace an older file.
        restart: begin a run that was cut off again, from its first passage.
        progress: called while working.

    Raises:
        InputError: the input or an argument is wrong, or not one query came out.
        UnfinishedGeneration: a run with other passages or settings was cut off here.
        PartialGeneration: the source failed on the way; what is done stays.
        StorageError: the disk is full; what is done stays.
    """
    began = time.monotonic()
    if window is not None and window < 1:
        raise InputError(f"window is {window}: give a positive number of passages")
    if out.is_dir():
        raise InputError(f"{out} is a folder: give a file")
    if out.exists() and not force and not journal_path(out).exists():
        raise InputError(f"{out} is there already: choose another file, or give force=True")
    with Staging() as staging:
        staging.add_passages(counted(passages, progress))
        start = Journal({"source": source.kind, **source.configuration}, staging.passages)
        run = _Run(staging, source, out, window or source.window, progress)
        if not restart:
            run.take_up_whole_file(start)
        if out.exists() and not force and not run.named:
            raise InputError(f"{out} is there already: choose another file, or give force=True")
        journal = run.journal if run.named else run.write(start, restart=restart)
        tally = journal.tally
        return GenerationReport(
            output=str(out),
            source=source.kind,
            generator=source.name,
            passages=staging.passages,
            repeated=staging.duplicates,
            resumed_at=run.resumed_at,
            queries=dict(sorted(tally.queries.items())),
            empty=tally.empty,
            duplicates=tally.duplicates,
            replaced=tally.replaced,
            missing=dict(sorted(tally.missing.items())),
            counts=source.counts(tally),
            written=tally.queries.total() - run.written_before,
            seconds=time.monotonic() - began,
        )


class _Run:
    """The state of one run."""

    def __init__(
        self,
        staging: Staging,
        source: Source,
        out: Path,
        window: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.named = False
        self.resumed_at = 0
        self.written_before = 0
        self.journal = Journal({}, 0)
        self._staging = staging
        self._source = source
        self._out = out
        self._window = window
        self._progress = progress
        self._checkpoint_at = time.monotonic()

    def take_up_whole_file(self, start: Journal) -> None:
        """See whether an earlier run was cut off when the file had its name already."""
        if not journal_path(self._out).exists() or part_path(self._out).exists():
            return
        earlier = read_journal(self._out)
        if earlier is None or not earlier.complete:
            return
        same = earlier.configuration == start.configuration and earlier.total == start.total
        if same and self._digest(earlier.done).hex == earlier.passages and self._out.exists():
            self.named = True
            self.journal = earlier
            self._take_up(earlier)
        journal_path(self._out).unlink()

    def write(self, start: Journal, *, restart: bool) -> Journal:
        """Write what is left to do, and give the file its name."""
        with GrowingFile(self._out) as growing:
            self.journal = growing.resume(start, restart=restart)
            self._take_up(self.journal)
            rolling = self._digest(self.journal.done)
            require_same_passages(self.journal, rolling, self._out)
            try:
                self._write_passages(growing, rolling)
            except BaseException as error:
                self._stop(growing, error)
                raise
            self._finish(growing)
        return self.journal

    def _write_passages(self, growing: GrowingFile, rolling: Rolling) -> None:
        self._tell()
        for batch in self._staging.batches(self._window, skip=self.journal.done):
            asked = [each.passage for each in batch]
            for passage, written in zip(asked, self._source.write(asked), strict=True):
                rolling = rolling.after(passage)
                # One assignment: an interrupt leaves a journal that knows a passage, or does not.
                self.journal = growing.append(self.journal, written, rolling)
                if not self._source.whole_windows:
                    self._checkpoint_now_and_then(growing)
                    self._tell()
            self._checkpoint_now_and_then(growing)
            self._tell()

    def _finish(self, growing: GrowingFile) -> None:
        if not self.journal.tally.queries:
            first = next(self._staging.batches(1))[0].passage.id
            growing.discard()
            raise InputError(self._source.nothing_written(self._staging.passages, first))
        self.journal = replace(self.journal, complete=True)
        self._checkpoint(growing)
        write_side_file(self._out, self._fields())
        growing.finish()

    def _stop(self, growing: GrowingFile, error: BaseException) -> None:
        """Note how far we came, if that is still possible; say how to go on."""
        done, total = growing.keep(self.journal).done, self.journal.total
        if not done:
            growing.discard()
        far = f"{done:,} of {total:,} passages are in {part_path(self._out)}"
        if isinstance(error, EndpointError | ModelError | RayError):
            raise PartialGeneration(
                f"{error}\n{far}; run the same again to go on", done=done, total=total
            ) from error
        if isinstance(error, StorageError) and done:
            raise StorageError(
                f"{error}\n{far}; make room, and run the same again to go on"
            ) from error

    def _take_up(self, journal: Journal) -> None:
        self.resumed_at = journal.done
        self.written_before = journal.tally.queries.total()

    def _digest(self, count: int) -> Rolling:
        """Of the first so many passages."""
        return Rolling().over(self._first(count))

    def _first(self, count: int) -> Iterator[Passage]:
        left = count
        for batch in self._staging.batches(1_024):
            for each in batch[:left]:
                yield each.passage
            left -= len(batch[:left])
            if not left:
                return

    def _checkpoint_now_and_then(self, growing: GrowingFile) -> None:
        if time.monotonic() - self._checkpoint_at > CHECKPOINT_SECONDS:
            self._checkpoint(growing)

    def _checkpoint(self, growing: GrowingFile) -> None:
        growing.checkpoint(self.journal)
        self._checkpoint_at = time.monotonic()

    def _fields(self) -> Mapping[str, Any]:
        from xqg_qdrant import __version__

        tally = self.journal.tally
        return {
            "generator": self._source.name,
            "configuration": dict(self.journal.configuration),
            "passages": self.journal.done,
            "passages_sha256": self.journal.passages,
            "bytes": self.journal.length,
            **{name: value for name, value in tally.to_json().items() if name != "other"},
            "counts": self._source.counts(tally),
            "versions": {"xqg-qdrant": __version__, **self._source.versions()},
        }

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    "generating",
                    self.journal.done,
                    self.journal.total,
                    self.journal.tally.queries.total(),
                )
            )
