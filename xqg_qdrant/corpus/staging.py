"""Passages and their queries, read whole and checked before anything is done with them.

Passages and queries come as two streams in any order, of any length, perhaps from a pipe. They
are laid down in a temporary SQLite file, so that memory stays flat, and that duplicates, queries
of unknown passages and broken lines are found before anything was written.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from xqg_qdrant.errors import InputError, StorageError
from xqg_qdrant.records import GeneratedQuery, Passage, Progress

Record = TypeVar("Record")

CHECKING_STEP = 10_000
"""Records read between two words of progress."""

_ROWS = 1_000
"""Queries laid down at a time; the fingerprint hangs on it."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE passages (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL, origin TEXT NOT NULL
);
CREATE TABLE queries (
    number INTEGER PRIMARY KEY, passage_id TEXT NOT NULL, lang TEXT NOT NULL, text TEXT NOT NULL,
    score REAL, origin TEXT NOT NULL
);
"""


class Augmented(NamedTuple):
    """A passage with its generated queries, in the order in which they came."""

    passage: Passage
    queries: list[GeneratedQuery]


class Staging:
    """Checked passages and queries.

    Attributes:
        passages: how many there are.
        queries: how many there are in each language.
        duplicates: passages that came again, word for word, and were dropped.
    """

    def __init__(self) -> None:
        self.passages = 0
        self.queries: Counter[str] = Counter()
        self.duplicates = 0
        self._digest = hashlib.sha256()
        # The empty name: a file in the temporary folder that goes away with this process.
        self._database = sqlite3.connect("", isolation_level=None)
        with disk_errors():
            self._database.executescript(_SCHEMA)
            self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change with any change of the input or of its order."""
        return self._digest.hexdigest()

    def add_passages(self, stream: Iterable[tuple[str, Passage]]) -> None:
        """Take checked passages, each with where it stands.

        Raises:
            InputError: an id comes twice with differing content, or there are no passages.
            StorageError: the temporary folder is full.
        """
        for origin, passage in stream:
            record = json.dumps(
                [passage.title, passage.text, passage.lang, passage.metadata],
                ensure_ascii=False,
                sort_keys=True,
            )
            with disk_errors():
                added = self._database.execute(
                    "INSERT OR IGNORE INTO passages VALUES (NULL, ?, ?, ?)",
                    (passage.id, record, origin),
                ).rowcount
            if added:
                self.passages += 1
                self._digest.update(json.dumps(passage.id).encode() + record.encode())
            else:
                self._count_duplicate(passage.id, record, origin)
        if not self.passages:
            raise InputError("there are no passages: the input is empty")

    def add_queries(self, stream: Iterable[tuple[str, GeneratedQuery]]) -> None:
        """Take checked queries, each with where it stands; call it after :meth:`add_passages`.

        Raises:
            InputError: a query is about a passage that is not in the input.
            StorageError: the temporary folder is full.
        """
        rows = (
            (query.passage_id, query.lang, query.text, query.score, origin)
            for origin, query in stream
        )
        while some := list(islice(rows, _ROWS)):
            with disk_errors():
                self._database.executemany("INSERT INTO queries VALUES (NULL, ?, ?, ?, ?, ?)", some)
            self.queries.update(row[1] for row in some)
            self._digest.update(json.dumps([row[:4] for row in some]).encode())
        with disk_errors():
            self._database.execute("CREATE INDEX by_passage ON queries (passage_id, number)")
            strangers = self._database.execute(
                "SELECT origin, passage_id, COUNT(*) OVER () FROM queries WHERE NOT EXISTS "
                "(SELECT 1 FROM passages WHERE id = passage_id) ORDER BY number LIMIT 1"
            ).fetchone()
        if strangers:
            origin, passage_id, number = strangers
            raise InputError(
                f"{origin}: a query for the unknown passage {passage_id!r} ({number:,} such "
                "queries in all): give its passage too, or drop the query"
            )

    def batches(self, size: int, *, skip: int = 0) -> Iterator[list[Augmented]]:
        """The passages with their queries, in the order of the input.

        Args:
            size: most passages in a batch.
            skip: how many passages to leave out at the start.
        """
        cursor = self._database.execute(
            "SELECT number, id, record FROM passages ORDER BY number LIMIT -1 OFFSET ?", (skip,)
        )
        while rows := list(islice(cursor, size)):
            batch = {row[1]: Augmented(_passage(*row[1:]), []) for row in rows}
            for query in self._queries_of(rows[0][0], rows[-1][0]):
                batch[query.passage_id].queries.append(query)
            yield list(batch.values())

    def most_queries(self) -> tuple[str, int]:
        """The passage with the most queries, and how many those are; none at all is ``("", 0)``."""
        row = self._database.execute(
            "SELECT passage_id, COUNT(*) AS n FROM queries GROUP BY passage_id "
            "ORDER BY n DESC, passage_id LIMIT 1"
        ).fetchone()
        return ("", 0) if row is None else (str(row[0]), int(row[1]))

    def _queries_of(self, first: int, last: int) -> Iterator[GeneratedQuery]:
        """Queries of the passages with numbers from ``first`` to ``last``, in their order."""
        if not self.queries:
            return
        rows = self._database.execute(
            # CROSS keeps SQLite from looking through all queries first.
            "SELECT passage_id, lang, text, score FROM passages CROSS JOIN queries "
            "ON passage_id = passages.id WHERE passages.number BETWEEN ? AND ? "
            "ORDER BY passages.number, queries.number",
            (first, last),
        )
        for row in rows:
            yield GeneratedQuery(*row)

    def _count_duplicate(self, passage_id: str, record: str, origin: str) -> None:
        first, first_origin = self._database.execute(
            "SELECT record, origin FROM passages WHERE id = ?", (passage_id,)
        ).fetchone()
        if first != record:
            raise InputError(
                f"{origin}: the id {passage_id!r} stands already at {first_origin}, with other "
                "content: give every passage an id of its own"
            )
        self.duplicates += 1


def _passage(passage_id: str, record: str) -> Passage:
    title, text, lang, metadata = json.loads(record)
    return Passage(passage_id, text, title, lang, metadata)


def counted(
    records: Iterable[tuple[str, Record]], progress: Callable[[Progress], None] | None
) -> Iterator[tuple[str, Record]]:
    """The records as they come, with word of them now and then."""
    for number, record in enumerate(records, start=1):
        if progress is not None and number % CHECKING_STEP == 0:
            progress(Progress("checking", number, 0))
        yield record


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn SQLite's errors about the temporary folder into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"cannot lay down the input in the temporary folder: {error}; make room there, or set "
            "TMPDIR to a folder with room"
        ) from error
