"""What is valid, said once more, apart from the readers: files and the records made of them."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import langcodes

MISSING = object()
Schema = Any
"""A predicate, ``[schema]`` for lists, or :class:`Object`."""


class Bad(Exception):
    """The file breaks its format."""


class Object(NamedTuple):
    """An object with these fields; others are refused where it is closed."""

    fields: dict[str, Schema]
    closed: bool = False


class Each(NamedTuple):
    """An object of any keys, which ``key`` takes, with values of one schema."""

    key: Callable[[Any], bool]
    value: Schema


def storable(value: Any) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def text(limit: int) -> Callable[[Any], bool]:
    return lambda value: storable(value) and bool(value.strip()) and len(value) <= limit


passage_text, query_text = text(262_144), text(8_192)


def ident(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return len(f"{value}") <= 512
    return storable(value) and 0 < len(value) <= 512 and min(value) >= " "


def lang(value: Any) -> bool:
    return storable(value) and bool(langcodes.tag_is_valid(value))


def title(value: Any) -> bool:
    return value is MISSING or value is None or (storable(value) and len(value) <= 262_144)


def string(value: Any) -> bool:
    return isinstance(value, str)


def anything(value: Any) -> bool:
    return True


def optional(schema: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is MISSING or value is None or schema(value)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def whole(low: int, high: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, float):  # 16.0 will do
            return value.is_integer() and low <= value <= high
        return type(value) is int and low <= value <= high

    return check


def plain_json(value: Any, depth: int = 1) -> bool:
    """Metadata that every engine stores."""
    if depth > 32:
        return not isinstance(value, dict | list) and plain_json(value, 0)
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(plain_json(each, depth + 1) for each in value)
    if not isinstance(value, dict):
        return False
    return all(storable(key) and plain_json(each, depth + 1) for key, each in value.items())


def metadata(value: Any) -> bool:
    short = len(json.dumps(value, default=str)) < 2 * 262_144 if value is not MISSING else True
    return (
        value is MISSING
        or value is None
        or (isinstance(value, dict) and plain_json(value) and short)
    )


def conform(value: Any, schema: Schema, where: str = "") -> None:
    """Check a value against a schema.

    Raises:
        Bad: it breaks it.
    """
    if isinstance(schema, Object):
        if not isinstance(value, dict):
            raise Bad(f"{where} is no object")
        if schema.closed and (unknown := value.keys() - schema.fields.keys()):
            raise Bad(f"{where} has {unknown}")
        for name, inner in schema.fields.items():
            conform(value.get(name, MISSING), inner, f"{where}.{name}")
    elif isinstance(schema, Each):
        if not isinstance(value, dict):
            raise Bad(f"{where} is no object")
        for name, inner in value.items():
            if not schema.key(name):
                raise Bad(f"{where} has key {name!r}")
            conform(inner, schema.value, f"{where}.{name}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise Bad(f"{where} is no list")
        for place, inner in enumerate(value):
            conform(inner, schema[0], f"{where}[{place}]")
    elif not schema(value):
        raise Bad(f"{where} is {str(value)[:40]!r}")


def decode(data: bytes) -> str:
    """UTF-8, without the mark that Windows puts in front.

    Raises:
        Bad: it is none.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Bad(str(error)) from None


def parse(text_: str, *, nan: bool = False) -> Any:
    """Strict JSON: no NaN, no field twice.

    Raises:
        Bad: it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise Bad("a field twice")
        return dict(pairs)

    def constant(name: str) -> None:
        if not nan:
            raise Bad(name)

    try:
        return json.loads(text_, object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Bad(str(error)[:80]) from None


def lines(data: bytes) -> list[str]:
    """Lines as files have them: ended by LF alone; those without anything are none."""
    decoded = decode(data).removeprefix("\ufeff") if data else ""
    return [line.rstrip("\r") for line in decoded.split("\n") if line.encode().strip()]


def gunzip(data: bytes) -> bytes:
    """All members of a gzip file.

    Raises:
        Bad: it is damaged.
    """
    out = b""
    while data:
        packed = zlib.decompressobj(wbits=31)
        try:
            out += packed.decompress(data)
        except zlib.error as error:
            raise Bad(str(error)) from None
        if not packed.eof:
            raise Bad("it ends early")
        data = packed.unused_data.lstrip(b"\0")
    return out


def conforming_lines(
    data: bytes, schema: Schema, *, nan: bool = False, empty: bool = False
) -> list[Any]:
    """The rows of a file of JSON lines.

    Raises:
        Bad: a line is no row of that schema, or there is none.
    """
    rows = [parse(line, nan=nan) for line in lines(data)]
    if not rows and not empty:
        raise Bad("nothing in it")
    for row in rows:
        conform(row, schema)
    return rows
