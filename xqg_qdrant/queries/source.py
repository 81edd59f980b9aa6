"""What writes queries for passages: the protocol of all sources, and what they share."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from xqg_qdrant.corpus.checks import MAX_COUNT, MAX_QUERY_CHARS, check_whole
from xqg_qdrant.records import GeneratedQuery, Passage

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Tally:
    """What was written, and what was not.

    Attributes:
        queries: written, by language.
        empty: texts dropped because nothing was in them, or nothing that can be stored.
        duplicates: texts dropped because their passage had them already, in that language.
        replaced: further texts that took the place of those dropped.
        missing: queries that were asked for and could not be had, by language.
        other: what a source counts beside, by its own names.
    """

    queries: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    duplicates: int = 0
    replaced: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)

    def __add__(self, more: Tally) -> Tally:
        return Tally(
            queries=self.queries + more.queries,
            empty=self.empty + more.empty,
            duplicates=self.duplicates + more.duplicates,
            replaced=self.replaced + more.replaced,
            missing=self.missing + more.missing,
            other=self.other + more.other,
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, counters sorted by their names."""
        return {
            "queries": dict(sorted(self.queries.items())),
            "empty": self.empty,
            "duplicates": self.duplicates,
            "replaced": self.replaced,
            "missing": dict(sorted(self.missing.items())),
            "other": dict(sorted(self.other.items())),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Tally:
        """From a JSON object.

        Raises:
            KeyError, TypeError, InputError: it is no tally.
        """
        for name in ("queries", "missing", "other"):
            if not isinstance(row[name], dict):
                raise TypeError(f"{name} is no object")
            for count in row[name].values():
                check_whole(count, name, 0, MAX_COUNT)
        return cls(
            queries=Counter(row["queries"]),
            empty=check_whole(row["empty"], "empty", 0, MAX_COUNT),
            duplicates=check_whole(row["duplicates"], "duplicates", 0, MAX_COUNT),
            replaced=check_whole(row["replaced"], "replaced", 0, MAX_COUNT),
            missing=Counter(row["missing"]),
            other=Counter(row["other"]),
        )


class Written(NamedTuple):
    """What a source wrote for one passage: queries in the order of the languages asked for."""

    queries: list[GeneratedQuery]
    tally: Tally


class Source(ABC):
    """Writes queries for passages. What it writes for one hangs on that passage alone.

    Attributes:
        kind: what the source is: ``model``, ``sentences``, ``published`` or ``endpoint``.
        name: what wrote the queries, for the manifest of a collection.
        configuration: everything beside the passage that decides what is written, as flat JSON;
            a run that was cut off goes on only with the same.
        window: passages that it likes to get at a time.
        whole_windows: it works on a window as a whole, so a run had best stop between windows.
    """

    kind: str
    name: str
    configuration: Mapping[str, Any]
    window: int
    whole_windows: bool = False

    @abstractmethod
    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """Write the queries of each of these passages, in their order.

        Raises:
            XqgError: it failed at the passage that would have come next.
        """

    def counts(self, tally: Tally) -> dict[str, int]:
        """What is to be told of a run beside the queries, by names for readers."""
        return dict(sorted(tally.other.items()))

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that wrote the queries, by name."""
        return {}

    def nothing_written(self, passages: int, first: str) -> str:
        """Why there may be not one query for so many passages, the first of this id."""
        return f"not one query came out for {passages:,} passages"

    def close(self) -> None:
        """Let go of what it holds; most hold nothing."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Gathering:
    """The queries of one passage in one language, each text once.

    Args:
        passage_id: the passage.
        lang: the language.
        wanted: how many there shall be; any number when None.
    """

    def __init__(self, passage_id: str, lang: str, wanted: int | None) -> None:
        self.queries: list[GeneratedQuery] = []
        self.other: Counter[str] = Counter()
        self._passage_id = passage_id
        self._lang = lang
        self._wanted = wanted
        self._known: set[str] = set()
        self._empty = self._duplicates = self._replaced = 0

    @property
    def short(self) -> int:
        """How many are still to come."""
        return 0 if self._wanted is None else self._wanted - len(self.queries)

    def offer(self, text: str, score: float | None = None, *, replacing: bool = False) -> bool:
        """Take a text, unless there are enough, it is empty or it is there already.

        Args:
            text: as it was written; white space in it is folded.
            score: of the query.
            replacing: it is a further text, in the place of one that was dropped.
        """
        if self._wanted is not None and not self.short:
            return False
        text = tidy(text)
        if not text:
            self._empty += 1
            return False
        key = duplicate_key(text)
        if key in self._known:
            self._duplicates += 1
            return False
        self._known.add(key)
        self._replaced += replacing
        self.queries.append(GeneratedQuery(self._passage_id, self._lang, text, score))
        return True

    def tally(self) -> Tally:
        """What came of it."""
        return Tally(
            queries=Counter({self._lang: len(self.queries)}) if self.queries else Counter(),
            empty=self._empty,
            duplicates=self._duplicates,
            replaced=self._replaced,
            missing=Counter({self._lang: self.short}) if self.short else Counter(),
            other=self.other,
        )


def written(gatherings: Sequence[Gathering], other: Counter[str] | None = None) -> Written:
    """What was gathered for one passage, put together."""
    tally = Tally(other=Counter(other or {}))
    for gathering in gatherings:
        tally += gathering.tally()
    return Written([query for each in gatherings for query in each.queries], tally)


def tidy(text: str) -> str:
    """A query's text on one line, without control characters; "" if no collection can store it."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return "" if len(line) > MAX_QUERY_CHARS or _SURROGATE.search(line) else line


def duplicate_key(text: str) -> str:
    """What is the same of two texts that differ in case, white space or width alone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
