"""What a record must be before anything is done with it.

Every engine gets only what passed here, so that all engines accept and refuse the same input:
Qdrant Edge, the server and qdrant-client's local mode each mishandle other things (a payload
nested 130 deep makes an Edge shard unloadable; local mode takes NaN and fails later).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import GeneratedQuery, Passage, Question

Record = TypeVar("Record")

MAX_TEXT_CHARS = 262_144
"""Longest passage text or title, in characters. A passage is what one vector can stand for."""

MAX_QUERY_CHARS = 8_192
"""Longest query or question, in characters."""

MAX_ID_CHARS = 512
"""Longest passage or question id, in characters."""

MAX_METADATA_DEPTH = 32
"""Deepest nesting of metadata. Engines fail from about 128 on."""

MAX_METADATA_CHARS = 262_144
"""Most characters of metadata in one passage: keys, values and brackets together."""

MAX_COUNT = 2**53
"""Largest count in files of ours: JSON readers may keep no larger ones exactly."""

_INT64 = 2**63


def check_text(value: object, field: str, *, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a non-empty, storable text.

    Raises:
        InputError: not a string, blank, too long, or holding a NUL or a lone surrogate.
    """
    text = _check_string(value, field)
    if not text.strip():
        raise InputError(f"{field} is empty: every record needs a text, drop it or fill it in")
    if len(text) > limit:
        raise InputError(
            f"{field} has {len(text):,} characters, more than the {limit:,} allowed: "
            "split it into shorter passages"
        )
    return text


def check_id(value: object, field: str) -> str:
    """Return an identifier as a string; whole numbers are taken as their decimal digits.

    Raises:
        InputError: not a string or whole number, empty, too long, or holding control characters.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > 4 * MAX_ID_CHARS:
            raise InputError(f"{field} has more than {MAX_ID_CHARS} digits")
        value = str(value)
    text = _check_string(value, field)
    if not text:
        raise InputError(f"{field} is empty: give every record an id of its own")
    if len(text) > MAX_ID_CHARS:
        raise InputError(f"{field} has {len(text):,} characters, more than {MAX_ID_CHARS}")
    if not text.isprintable() and any(ord(char) < 32 for char in text):
        raise InputError(f"{field} {text!r} holds control characters: remove them")
    return text


def check_whole(value: object, name: str, low: int, high: int) -> int:
    """Return a whole number within bounds.

    A float that is whole will do: servers give some of the numbers that they keep back so.

    Raises:
        InputError: another type, or out of range.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        told = _kind(value) if not isinstance(value, int) or isinstance(value, bool) else "another"
        raise InputError(f"{name} must be a whole number from {low:,} to {high:,}, not {told}")
    return value


def check_metadata(value: object, field: str = "metadata") -> dict[str, Any]:
    """Return metadata as plain JSON: str, int (64 bits), finite float, bool, None, list, dict.

    Raises:
        InputError: another type, a non-string key, NaN or infinity, or too deep or too long.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{field} must be an object, not {_kind(value)}")
    budget = _Budget(MAX_METADATA_DEPTH, MAX_METADATA_CHARS)
    checked = _check_json(value, field, 1, budget)
    assert isinstance(checked, dict)
    return checked


def check_payload(payload: Mapping[str, Any]) -> None:
    """Check that a whole payload, texts and metadata, is JSON that every engine stores.

    Raises:
        InputError: another type, a non-string key, NaN or infinity, a NUL or a lone surrogate,
            or nested too deep.
    """
    if not isinstance(payload, Mapping):
        raise InputError(f"payload must be an object, not {_kind(payload)}")
    if not _is_plain(payload, MAX_METADATA_DEPTH):  # quickly, since nearly all are
        # Metadata stands one level deeper here; the lengths of texts were checked one by one.
        _check_json(payload, "payload", 0, _Budget(MAX_METADATA_DEPTH, None))


def check_passage(passage: Passage) -> Passage:
    """Return the passage with its language code normalised and its metadata plain.

    Raises:
        InputError: a field is not what :class:`Passage` says.
    """
    if not isinstance(passage, Passage):
        raise InputError(f"expected a Passage, got {_kind(passage)}")
    title = _check_string(passage.title, "title")
    if len(title) > MAX_TEXT_CHARS:
        raise InputError(f"title has {len(title):,} characters, more than {MAX_TEXT_CHARS:,}")
    return Passage(
        id=check_id(passage.id, "id"),
        text=check_text(passage.text, "text"),
        title=title,
        lang=None if passage.lang is None else _check_language(passage.lang),
        metadata=check_metadata(passage.metadata),
    )


def check_query(query: GeneratedQuery) -> GeneratedQuery:
    """Return the generated query with its language code normalised.

    Raises:
        InputError: a field is not what :class:`GeneratedQuery` says.
    """
    if not isinstance(query, GeneratedQuery):
        raise InputError(f"expected a GeneratedQuery, got {_kind(query)}")
    score = query.score
    if score is not None:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise InputError(f"score must be a number, not {_kind(score)}")
        try:
            score = float(score)
        except OverflowError:
            score = math.inf
        if not math.isfinite(score):
            raise InputError(f"score is {score}: give a finite number or leave it out")
    return GeneratedQuery(
        passage_id=check_id(query.passage_id, "passage_id"),
        lang=_check_language(query.lang),
        text=check_text(query.text, "text", limit=MAX_QUERY_CHARS),
        score=score,
    )


def check_question(question: Question) -> Question:
    """Return the question with its language code normalised.

    Raises:
        InputError: a field is not what :class:`Question` says.
    """
    check_text(question.text, "text", limit=MAX_QUERY_CHARS)
    return replace(question, id=check_id(question.id, "id"), lang=_check_language(question.lang))


def _check_language(value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"lang must be a string, not {_kind(value)}")
    return normalize_language(value)


def check_records(
    rows: Iterable[Record | Mapping[str, Any]],
    kind: type[Record],
    check: Callable[[Record], Record],
    name: str,
) -> Iterator[tuple[str, Record]]:
    """Yield records of the user's, checked, each with where it stands.

    Args:
        rows: records, or mappings with their fields.
        kind: of record.
        check: of one record.
        name: what a message calls one.

    Raises:
        InputError: they are no list of such records, or one is wrong.
    """
    if not isinstance(rows, Iterable):
        names = "queries" if name == "query" else f"{name}s"
        raise InputError(f"{names}: a {type(rows).__name__}: give a file or a list of them")
    for number, row in enumerate(rows, start=1):
        where = f"{name} {number}"
        try:
            record = kind(**row) if isinstance(row, Mapping) else row
            yield where, check(record)
        except (InputError, TypeError) as error:
            raise InputError(f"{where}: {error}") from None


def _check_string(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{field} must be a string, not {_kind(value)}")
    if "\x00" in value:
        raise InputError(f"{field} holds a NUL character: remove it")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{field} holds a lone surrogate (U+{ord(value[error.start]):04X}) at character "
                f"{error.start + 1}: it is not valid Unicode text, repair or remove it"
            ) from None
    return str.__str__(value)  # of a subclass too, such as an enumeration's


class _Budget:
    """What may still be spent while one value is walked: depth, and characters if they count."""

    def __init__(self, depth: int, chars: int | None) -> None:
        self.depth = depth
        self.chars = chars

    def spend(self, chars: int) -> None:
        if self.chars is None:
            return
        self.chars -= chars
        if self.chars < 0:
            raise InputError(f"metadata has over {MAX_METADATA_CHARS:,} characters: shorten it")


def _check_json(value: object, field: str, depth: int, budget: _Budget) -> Any:
    if depth > budget.depth:
        raise InputError(
            f"metadata is nested more than {budget.depth} deep: flatten it "
            "(engines fail on deeply nested payloads)"
        )
    if value is None or isinstance(value, bool):
        budget.spend(4)
        return value
    if isinstance(value, str):
        budget.spend(len(value))
        return _check_string(value, field)
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise InputError(f"{field} is a number beyond 64 bits: store it as a string")
        budget.spend(len(str(value)))
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{field} is {value}: JSON has no such number, leave it out")
        budget.spend(len(str(value)))
        return float(value)
    if isinstance(value, Mapping):
        budget.spend(2)
        checked: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{field} has the key {key!r}: keys must be strings")
            _check_json(key, f"a key of {field}", depth, budget)
            checked[key] = _check_json(item, f"{field}.{key}", depth + 1, budget)
        return checked
    if isinstance(value, list | tuple):
        budget.spend(2)
        return [
            _check_json(item, f"{field}[{n}]", depth + 1, budget) for n, item in enumerate(value)
        ]
    raise InputError(f"{field} is {_kind(value)}: metadata holds JSON values only")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value surely passes :func:`_check_json`; False only asks for a closer look."""
    if depth < 0:
        return False
    kind = type(value)
    if kind is str:
        return _is_storable(value)
    if value is None or kind is bool:
        return True
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not _is_storable(key) or not _is_plain(item, depth - 1):
                return False
        return True
    if kind is list:
        return all(_is_plain(item, depth - 1) for item in value)
    if kind is int:
        return bool(-_INT64 <= value < _INT64)
    return kind is float and math.isfinite(value)


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
