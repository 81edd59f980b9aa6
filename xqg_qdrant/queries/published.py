"""Queries that others have generated and published."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xqg_qdrant.corpus.published import read_published
from xqg_qdrant.corpus.staging import counted, disk_errors
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.queries.source import Gathering, Source, Tally, Written, written
from xqg_qdrant.records import Passage, Progress

WINDOW = 1_024

_FOUND = "passages found in the files"
_NOT_FOUND = "passages not in the files"
_STRANGERS = "passages of the files that are not in the input"


class PublishedSource(Source):
    """The queries of published files, by the ids of their passages.

    All files are read and checked at once, into a temporary file, so memory stays flat.

    Args:
        files: JSONL, ``.gz`` or Parquet.
        languages: to take, in this order; all that the files have, by their codes, when empty.
        per_language: the first so many of each passage and language; all when None.
        progress: called while reading.

    Raises:
        InputError: a file is no such file, a passage comes twice, or a language is not in them.
        StorageError: the temporary folder is full.
    """

    kind = "published"
    window = WINDOW

    def __init__(
        self,
        files: Sequence[Path],
        *,
        languages: Sequence[str] = (),
        per_language: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if per_language is not None and per_language < 1:
            raise InputError(f"per_language is {per_language}: give a positive number")
        wanted = parse_languages(languages)
        self._per_language = per_language
        self._rows = 0
        self._example = ""
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            digest, found = self._read(files, wanted, progress)
        except BaseException:
            self.close()
            raise
        strange = [code for code in wanted if code not in found]
        if strange:
            self.close()
            raise InputError(
                f"{_names(files)}: no queries in {', '.join(strange)}: found are "
                f"{', '.join(sorted(found)) or 'none'}"
            )
        self._languages = wanted or tuple(sorted(found))
        self.name = f"published: {_names(files)}"
        self.configuration = {
            "files_sha256": digest,
            "languages": list(self._languages),
            "per_language": per_language,
        }

    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """Look up the queries of each passage."""
        for passage in passages:
            row = self._database.execute(
                "SELECT queries FROM published WHERE passage_id = ?", (passage.id,)
            ).fetchone()
            by_language = {} if row is None else json.loads(row[0])
            gatherings = []
            for lang in self._languages:
                gathering = Gathering(passage.id, lang, self._per_language)
                for place, text in enumerate(by_language.get(lang, ())):
                    replacing = self._per_language is not None and place >= self._per_language
                    gathering.offer(text, replacing=replacing)
                gatherings.append(gathering)
            yield written(gatherings, Counter({_NOT_FOUND if row is None else _FOUND: 1}))

    def counts(self, tally: Tally) -> dict[str, int]:
        """How input and files fit together."""
        found = tally.other[_FOUND]
        return {
            _FOUND: found,
            _NOT_FOUND: tally.other[_NOT_FOUND],
            _STRANGERS: self._rows - found,
        }

    def nothing_written(self, passages: int, first: str) -> str:
        """Why there may be not one query."""
        return (
            f"not one of {passages:,} passages has queries in the published files: their ids are "
            f"such as {self._example!r}, the passages' such as {first!r}; they must be the same"
        )

    def close(self) -> None:
        """Let go of the temporary file."""
        self._database.close()

    def _read(
        self,
        files: Sequence[Path],
        wanted: Sequence[str],
        progress: Callable[[Progress], None] | None,
    ) -> tuple[str, set[str]]:
        """Take the queries in; their digest, and the languages found."""
        digest = hashlib.sha256()
        found: set[str] = set()
        with disk_errors():
            self._database.execute(
                "CREATE TABLE published (passage_id TEXT PRIMARY KEY, queries TEXT) WITHOUT ROWID"
            )
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("BEGIN")
        for path in files:
            for origin, row in counted(read_published(path), progress):
                found.update(lang for lang, texts in row.queries.items() if texts)
                kept = {
                    lang: texts
                    for lang, texts in sorted(row.queries.items())
                    if not wanted or lang in wanted
                }
                record = json.dumps(kept)
                with disk_errors():
                    added = self._database.execute(
                        "INSERT OR IGNORE INTO published VALUES (?, ?)", (row.passage_id, record)
                    ).rowcount
                if not added:
                    raise InputError(
                        f"{origin}: queries of {row.passage_id!r} stand there already: every "
                        "passage has one row"
                    )
                self._rows += 1
                self._example = self._example or row.passage_id
                digest.update(json.dumps([row.passage_id, record]).encode())
        if not self._rows:
            raise InputError(f"{_names(files)}: there are no queries: the input is empty")
        return digest.hexdigest(), found


def _names(files: Sequence[Path]) -> str:
    return ", ".join(path.name for path in files)
