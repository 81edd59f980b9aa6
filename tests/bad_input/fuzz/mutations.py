"""Ways to spoil a file."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

RAW: dict[str, str] = {
    "@NaN@": "NaN",
    "@Infinity@": "-Infinity",
    "@1e400@": "1e400",
    "@digits@": "9" * 5_000,
    "@deep@": "[" * 5_000 + "]" * 5_000,
    "@deeper@": '{"k":' * 40 + "1" + "}" * 40,
    "@surrogate@": '"\\ud800"',
    "@nul@": '"a\\u0000b"',
    "@-0@": "-0.0",
}
"""What json.dumps would not write, by what stands for it."""

# fmt: off
HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**70, 10**30, 0.5, 1e308,
    -1.5, "", " ", "\u3000", "x", "\t", "a\nb", "../../etc/passwd", "/etc/passwd", "C:\\x",
    "\u202e\u0301", "🦉", "x" * 600, "x" * 9_000, "x" * 300_000, [], [None], [[]], [1, "a"], {},
    {"a": None}, {"": 1}, "null", "NaN", "1e400", "xx", "en", "english", *RAW,
]
# fmt: on

_INVALID = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xfe\xff", b"\0"]


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken away or added."""
    if not data:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
    out = bytearray(data)
    place = rng.randrange(len(out))
    length = min(len(out) - place, rng.choice((1, 2, 8, 64)))
    kind = rng.randrange(9)
    if kind == 0:
        out[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.randrange(2, 20)):
            out[rng.randrange(len(out))] = rng.randrange(256)
    elif kind == 2:
        del out[place:]
    elif kind == 3:
        del out[place : place + length]
    elif kind == 4:
        out[place:place] = rng.choice(_INVALID)
    elif kind == 5:
        out[place:place] = out[place : place + length]
    elif kind == 6:
        out[place : place + length] = b"\0" * length
    elif kind == 7:
        out[place:place] = rng.choice((b"9" * 400, b"[" * 3_000, b'{"a":' * 200, b"\r", b"\x85"))
    else:
        out[place : place + length] = bytes(rng.randrange(256) for _ in range(length))
    return bytes(out)


def spoil_json(value: Any, rng: random.Random) -> Any:
    """A copy in which one value, or one key, is another, is missing or is there twice."""
    out = copy.deepcopy(value)
    holders = [place for place in _places(out) if place[0]]
    holder, key = rng.choice(holders) if holders else ([out], 0)
    kind = rng.randrange(10)
    if kind < 6:
        holder[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif kind == 6:
        del holder[key]
    elif kind == 7 and isinstance(holder, dict):
        holder[rng.choice(("extra", "", "Id", "\u202e"))] = rng.choice(HOSTILE)
    elif kind == 8 and isinstance(holder, dict):
        holder[f"{key}@twice@"] = rng.choice((holder[key], 5))
    else:
        holder[key] = [holder[key]]
    return out


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def dump(value: Any) -> bytes:
    """A value as JSON, with what stands for raw text replaced by it."""
    text = json.dumps(value, ensure_ascii=False).replace('@twice@"', '"')
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text.encode("utf-8")


def dump_lines(rows: Any) -> bytes:
    """Rows as JSON, one a line; what is no list of rows is one line."""
    return b"".join(dump(row) + b"\n" for row in (rows if isinstance(rows, list) else [rows]))
