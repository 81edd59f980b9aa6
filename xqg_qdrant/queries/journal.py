"""A file that grows over many runs: its part so far, and the journal that says how far it came.

The part lies beside the file to be, as ``NAME.part``, its journal as ``NAME.journal``. First the
part goes to the disk, then the word that it is there, so whatever the journal says is true after
a crash, and what the part holds beyond it is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xqg_qdrant.corpus.checks import MAX_COUNT, check_whole
from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.corpus.writing import rename, write_json
from xqg_qdrant.errors import InputError, StorageError, UnfinishedGeneration, XqgError
from xqg_qdrant.queries.output import query_line
from xqg_qdrant.queries.source import Tally, Written
from xqg_qdrant.records import Passage

SCHEMA_VERSION = 1

_RESERVE = 2**16
"""Bytes of a part that make room enough for a journal."""

_RESTART = "begin again with --restart (restart=True)"


@dataclass(frozen=True, slots=True)
class Journal:
    """How far a run came.

    Attributes:
        configuration: all settings that decide what is written.
        total: passages in its input.
        done: passages whose queries are in the part.
        length: of those queries, in bytes.
        passages: SHA-256 over the passages done, 64 hex digits.
        tally: what was written and dropped.
        complete: the part is whole, and may have its name already.
    """

    configuration: Mapping[str, Any]
    total: int
    done: int = 0
    length: int = 0
    passages: str = hashlib.sha256().hexdigest()
    tally: Tally = field(default_factory=Tally)
    complete: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "schema_version": SCHEMA_VERSION,
            "configuration": dict(self.configuration),
            "total": self.total,
            "done": self.done,
            "length": self.length,
            "passages": self.passages,
            "tally": self.tally.to_json(),
            "complete": self.complete,
        }


def journal_path(out: Path) -> Path:
    """Where the journal of a file to be lies."""
    return out.with_name(f"{out.name}.journal")


def part_path(out: Path) -> Path:
    """Where the part of a file to be lies."""
    return out.with_name(f"{out.name}.part")


def read_journal(out: Path) -> Journal | None:
    """The journal of a file to be, if a run was cut off.

    Raises:
        StorageError: it is damaged, or of another release.
    """
    path = journal_path(out)
    if not path.exists():
        return None
    try:
        row = read_json_object(path)
        version = row.pop("schema_version", None)
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise ValueError("of another release")
        if missing := {each.name for each in fields(Journal)} - row.keys():
            raise ValueError(f"no field {min(missing)}")
        journal = Journal(**{**row, "tally": Tally.from_json(row["tally"])})
        if not 0 <= journal.done <= journal.total or journal.length < 0:
            raise ValueError(f"{journal.done} of {journal.total} passages done")
        numbers: dict[str, Any] = {
            name: check_whole(getattr(journal, name), name, 0, MAX_COUNT)
            for name in ("total", "done", "length")
        }
        if not isinstance(journal.passages, str) or not isinstance(journal.configuration, dict):
            raise ValueError("passages or configuration")
        journal = replace(journal, **numbers)
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path} is damaged ({error!s:.200}): {_RESTART}") from None
    return journal


class Rolling:
    """A digest of the passages seen so far, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def after(self, passage: Passage) -> Rolling:
        """The digest with one more passage."""
        longer = Rolling()
        longer._digest = self._digest.copy()
        row = [passage.id, passage.title, passage.text, passage.lang]
        longer._digest.update(json.dumps(row).encode())
        return longer

    def over(self, passages: Iterable[Passage]) -> Rolling:
        """The digest with more passages."""
        longer = self
        for passage in passages:
            longer = longer.after(passage)
        return longer

    @property
    def hex(self) -> str:
        """64 hex digits."""
        return self._digest.hexdigest()


class GrowingFile:
    """The part of a file to be, open for writing; nobody else can have it open.

    Args:
        out: the file to be.

    Raises:
        InputError: there is no such folder, or it may not be written to.
        StorageError: another run has it open, or the disk is full.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = part_path(out)
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._open = True
        # The journal on the disk, and two of earlier moments, each a reserve behind the next.
        self._on_disk = self._behind = self._ahead = Journal({}, 0)
        try:
            _lock(self._handle, self._path)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; another run may open it."""
        if self._open:
            self._open = False
            os.close(self._handle)

    def resume(self, journal: Journal, *, restart: bool) -> Journal:
        """Take up where an earlier run stopped, or begin.

        Args:
            journal: of this run, nothing done.
            restart: begin, whatever there is.

        Returns:
            The journal to go on with.

        Raises:
            UnfinishedGeneration: the earlier run had another configuration.
            StorageError: the part or its journal is damaged, or the disk is full.
        """
        earlier = None if restart else read_journal(self._out)
        size = os.fstat(self._handle).st_size
        if earlier is None or not earlier.done:
            if size and earlier is None and not restart:
                raise StorageError(f"{self._path} is there, its journal is not: {_RESTART}")
            self._cut(0)
            self._behind = self._ahead = journal
            self.checkpoint(journal)
            return journal
        _require_same(earlier, journal.configuration, self._out)
        if size < earlier.length:
            raise StorageError(
                f"{self._path} has {size:,} bytes, its journal says {earlier.length:,}: {_RESTART}"
            )
        self._cut(earlier.length)
        self._on_disk = self._behind = self._ahead = earlier
        return replace(earlier, total=journal.total, complete=False)

    def append(self, journal: Journal, written: Written, passages: Rolling) -> Journal:
        """Write the queries of one more passage, and return the journal that knows of them.

        Raises:
            StorageError: the disk is full.
        """
        data = "".join(map(query_line, written.queries)).encode("utf-8")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        if journal.length - self._ahead.length > _RESERVE:
            self._behind, self._ahead = self._ahead, journal
        return replace(
            journal,
            done=journal.done + 1,
            length=journal.length + len(data),
            passages=passages.hex,
            tally=journal.tally + written.tally,
        )

    def checkpoint(self, journal: Journal) -> None:
        """See that what the journal tells of is on the disk, and write the journal.

        Raises:
            StorageError: the disk is full.
        """
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        write_json(journal_path(self._out), journal.to_json())
        self._on_disk = journal

    def keep(self, journal: Journal) -> Journal:
        """Keep as much as can be after a failure, and return the journal that is on the disk.

        On a full disk a little of the part is given up, so that there is room for its journal.
        """
        for kept in (journal, self._behind):
            if kept.done <= self._on_disk.done:
                break
            with suppress(XqgError):
                self._cut(kept.length)
                self.checkpoint(kept)
                break
        return self._on_disk

    def finish(self) -> None:
        """Give the part its name; the journal goes."""
        self.close()
        try:
            rename(self._path, self._out)
            journal_path(self._out).unlink()
        except OSError as error:
            raise StorageError(f"{self._out}: cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Take part and journal away."""
        self.close()
        for path in (self._path, journal_path(self._out)):
            with suppress(OSError):
                path.unlink()

    def _cut(self, length: int) -> None:
        try:
            os.ftruncate(self._handle, length)
            os.lseek(self._handle, length, os.SEEK_SET)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error


def require_same_passages(earlier: Journal, passages: Rolling, out: Path) -> None:
    """Check that the passages that an earlier run did are those of this one.

    Raises:
        UnfinishedGeneration: they are not.
    """
    if passages.hex != earlier.passages:
        raise UnfinishedGeneration(
            f"{part_path(out)}: a run was cut off after {earlier.done:,} of {earlier.total:,} "
            f"passages, and those were others: run it again with its passages, or {_RESTART}"
        )


def _require_same(earlier: Journal, configuration: Mapping[str, Any], out: Path) -> None:
    differing = [
        f"{name} {_shown(earlier.configuration.get(name))} (now {_shown(configuration.get(name))})"
        for name in {**earlier.configuration, **configuration}
        if earlier.configuration.get(name) != configuration.get(name)
    ]
    if differing:
        raise UnfinishedGeneration(
            f"{part_path(out)}: a run was cut off after {earlier.done:,} of {earlier.total:,} "
            f"passages, and had {', '.join(differing)}: run it again with what it had to finish "
            f"it, or {_RESTART}"
        )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _lock(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows, where nobody is kept out
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StorageError(
            f"{path}: another run is writing it: wait for it, or choose another output file"
        ) from None
    except OSError:  # a file system without locks
        return
