"""Conditions on payloads, in terms that every engine understands alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xqg_qdrant.corpus.checks import MAX_TEXT_CHARS
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language

Scalar = str | int | float | bool

_LARGEST = 2**64
_BOUNDS = ("gt", "gte", "lt", "lte")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+(\[\])?")


@dataclass(frozen=True, slots=True)
class Condition:
    """The field holds one of the values (lists: any element does), or lies within the bounds.

    Attributes:
        key: a path in the payload, as Qdrant writes it (``metadata.author.name``).
        any_of: values of which one must be there.
        bounds: ``gt``, ``gte``, ``lt``, ``lte`` of a number; all must hold.
    """

    key: str
    any_of: tuple[Scalar, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()


def parse_filters(
    metadata: Mapping[str, Any] | None = None,
    passage_languages: Sequence[str] | str | None = None,
) -> list[Condition]:
    """Conditions from what a user writes.

    Args:
        metadata: the user's own fields by name; dots reach into nested objects. The value is a
            scalar that must be equal, a list of which one must be equal, or bounds such as
            ``{"gte": 1900, "lt": 2000}``.
        passage_languages: codes of which the passage's language must be one.

    Raises:
        InputError: a value no filter can have, or an unknown language code.
    """
    conditions = []
    if passage_languages is not None and passage_languages != "":
        codes = _check_languages(passage_languages)
        if codes:
            conditions.append(Condition("lang", any_of=codes))
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InputError(f"filters is a {type(metadata).__name__}: give values by field")
    for field, value in (metadata or {}).items():
        key = _payload_path(field)
        if isinstance(value, Mapping):
            conditions.append(Condition(key, bounds=_check_bounds(field, value)))
        elif isinstance(value, list | tuple | set | frozenset):
            if not value:
                raise InputError(f"filter {field!r} lists no values: give at least one")
            conditions.append(Condition(key, tuple(_check_scalar(field, each) for each in value)))
        else:
            conditions.append(Condition(key, (_check_scalar(field, value),)))
    return conditions


def _check_languages(given: Sequence[str] | str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (normalize_language(given),)
    if not isinstance(given, list | tuple | set | frozenset):
        raise InputError(f"passage languages are a {type(given).__name__}: give a list of codes")
    return tuple(normalize_language(code) for code in given)


def _payload_path(field: str) -> str:
    if not isinstance(field, str) or not field or any(not part for part in field.split(".")):
        raise InputError(f"filter on {field!r}: name a metadata field, dots between levels")
    _check_string(field, field)
    if '"' in field or "\\" in field:
        raise InputError(f"filter on {field!r}: quotes and backslashes cannot be filtered by")
    parts = [part if _PLAIN_KEY.fullmatch(part) else f'"{part}"' for part in field.split(".")]
    return ".".join(["metadata", *parts])


def _check_scalar(field: str, value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _check_string(value, field)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InputError(
        f"filter {field!r} wants {value!r}: filter by a string, a finite number or a boolean, "
        "a list of them, or bounds such as {'gte': 1}"
    )


def _check_string(value: str, field: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"filter {field!r} holds a lone surrogate: nothing stored does") from None
    if len(value) > MAX_TEXT_CHARS:
        raise InputError(f"filter {field[:40]!r} has a value of {len(value):,} characters")
    return value


def _check_bounds(field: str, value: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    if not value or any(bound not in _BOUNDS for bound in value):
        raise InputError(f"filter {field!r}: bounds are {', '.join(_BOUNDS)}, not {list(value)}")
    for bound, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"filter {field!r}: {bound} is {number!r}, not a number")
        if isinstance(number, int) and not -_LARGEST <= number <= _LARGEST:
            raise InputError(f"filter {field!r}: {bound} is a number beyond 64 bits")
        if not math.isfinite(number):
            raise InputError(f"filter {field!r}: {bound} is {number}: give a finite number")
    return tuple((bound, float(number)) for bound, number in value.items())
