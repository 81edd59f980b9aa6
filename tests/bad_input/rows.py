"""Bad input, a row each: what is given, which error comes, and what it says."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xqg_qdrant import GeneratedQuery, InputError, ModelError, Passage, XqgError
from xqg_qdrant.engine.points import Point
from xqg_qdrant.errors import CollectionMismatch, CollectionNotFound
from xqg_qdrant.lexical import SparseVector

GOOD = b'{"id": "a", "text": "good"}\n'
QUERY = b'{"passage_id": "a", "lang": "sw", "text": "nzuri"}\n'
DIMENSION = 4


def passage(**fields: Any) -> bytes:
    """A line with a passage, some of its fields others."""
    return json.dumps({"id": "a", "text": "good"} | fields).encode() + b"\n"


def query(**fields: Any) -> bytes:
    """A line with a query of that passage."""
    row = {"passage_id": "a", "lang": "sw", "text": "nzuri"}
    return json.dumps(row | fields).encode() + b"\n"


def raw(field_and_value: bytes) -> bytes:
    """A passage's line with a field as it is written."""
    return b'{"id": "a", "text": "good", ' + field_and_value + b"}\n"


def nested(depth: int) -> bytes:
    """A passage with metadata so deep."""
    return raw(b'"metadata": ' + b'{"k": ' * depth + b"1" + b"}" * depth)


@dataclass(frozen=True)
class File:
    """Files of passages and queries that cannot be loaded.

    Attributes:
        says: what the message holds: of the file, the line or the field.
        passages: the bytes of its file.
        queries: the bytes of the queries' file.
        name: of the file of passages.
    """

    says: str
    passages: bytes = GOOD
    queries: bytes = b""
    name: str = "p.jsonl"


FILES: dict[str, File] = {
    # The file
    "nothing in it": File("there are no passages", b""),
    "only blank lines": File("there are no passages", b"\n \n\r\n"),
    "a byte order mark alone": File("there are no passages", b"\xef\xbb\xbf"),
    "UTF-16": File("line 1: not UTF-8", GOOD.decode().encode("utf-16")),
    "UTF-16 without a mark": File("line 1: not valid JSON", GOOD.decode().encode("utf-16-le")),
    "Latin-1": File("line 2: not UTF-8 (byte 23)", GOOD + b'{"id": "b", "text": "M\xfcller"}\n'),
    "an overlong encoding": File("line 1: not UTF-8", b'{"id": "a", "text": "\xc0\xaf"}\n'),
    "a surrogate in UTF-8": File("line 1: not UTF-8", b'{"id": "a", "text": "\xed\xa0\x80"}\n'),
    "NUL bytes": File("line 1: not valid JSON", b"\0" * 64),
    "old Mac line ends": File("line 1: not valid JSON", GOOD.strip() + b"\r" + GOOD.strip()),
    "two objects on a line": File("line 1: not valid JSON", GOOD.strip() + GOOD),
    "a JSON array of all": File("line 1: expected a JSON object", b"[" + GOOD.strip() + b"]"),
    "an indented object": File("line 1: not valid JSON", json.dumps({"id": 1}, indent=1).encode()),
    "CSV": File("line 1: not valid JSON", b"id,text\na,good\n"),
    "a line of 17 MiB": File("line 1: longer than 16 MiB", passage(text="x" * 17 * 2**20)),
    "gzip that ends early": File(
        "cannot be read", gzip.compress(GOOD * 5_000)[:-20], name="p.jsonl.gz"
    ),
    "gzip with a flipped bit": File(
        "cannot be read",
        gzip.compress(GOOD)[:-6] + b"\0" + gzip.compress(GOOD)[-5:],
        name="p.jsonl.gz",
    ),
    "no gzip but called so": File("cannot be read", GOOD, name="p.jsonl.gz"),
    "gzip but not called so": File("line 1: not UTF-8", gzip.compress(GOOD)),
    "gzip of nothing": File("there are no passages", gzip.compress(b""), name="p.jsonl.gz"),
    "gzip of a line without end": File(
        "line 1: longer than 16 MiB", gzip.compress(b"x" * 2**26), name="p.jsonl.gz"
    ),
    # The line
    "a line cut off": File("line 2: not valid JSON", GOOD + b'{"id": "b", "te\n'),
    "a list": File("line 1: expected a JSON object, found list", b'["a", "good"]\n'),
    "a string": File("line 1: expected a JSON object, found str", b'"a"\n'),
    "a number": File("line 1: expected a JSON object, found int", b"5\n"),
    "null": File("line 1: expected a JSON object, found NoneType", b"null\n"),
    "a field twice": File("line 1: 'text' stands twice", raw(b'"text": "other"')),
    "a field of metadata twice": File("'k' stands twice", raw(b'"metadata": {"k": 1, "k": 2}')),
    "an unknown field": File("line 1: unknown field 'url'", passage(url="x")),
    "a field in capitals": File("line 1: no field 'text'", b'{"id": "a", "Text": "x"}\n'),
    "100,000 brackets": File("line 1: nested too deep to be read", b"[" * 100_000),
    # The id
    "no id": File("line 1: no field 'id'", b'{"text": "good"}\n'),
    "id null": File("line 1: no field 'id'", passage(id=None)),
    "id empty": File("line 1: id is empty", passage(id="")),
    "id true": File("line 1: id must be a string, not a bool", passage(id=True)),
    "id 1.5": File("line 1: id must be a string, not a float", passage(id=1.5)),
    "id a list": File("line 1: id must be a string, not a list", passage(id=["a"])),
    "id of 513 characters": File("line 1: id has 513 characters", passage(id="x" * 513)),
    "id of 600 digits": File("line 1: id has", b'{"text": "good", "id": ' + b"9" * 600 + b"}\n"),
    "id with a tab": File("line 1: id 'a\\tb' holds control characters", passage(id="a\tb")),
    "id with NUL": File("line 1: id holds a NUL", passage(id="a\0")),
    "id with a lone surrogate": File("line 1: id holds a lone surrogate", passage(id="\ud800")),
    "an id with other content": File(
        "line 2: the id 'a' stands already at", GOOD + passage(text="other")
    ),
    "an id as number and as text": File(
        "line 2: the id '7' stands already", passage(id=7) + passage(id="7", text="other")
    ),
    # The text and the title
    "no text": File("line 1: no field 'text'", b'{"id": "a"}\n'),
    "text null": File("line 1: no field 'text'", passage(text=None)),
    "text empty": File("line 1: text is empty", passage(text="")),
    "text blank": File("line 1: text is empty", passage(text=" \u3000\n")),
    "text a number": File("line 1: text must be a string, not a int", passage(text=5)),
    "text a list": File("line 1: text must be a string, not a list", passage(text=["a"])),
    "text of a megabyte": File("line 1: text has 1,048,576 characters", passage(text="x" * 2**20)),
    "text with NUL": File("line 1: text holds a NUL", passage(text="a\0b")),
    "text with a lone surrogate": File(
        "line 1: text holds a lone surrogate (U+D83D) at character 2", passage(text="a\ud83d")
    ),
    "title a number": File("line 1: title must be a string", passage(title=5)),
    "title of a megabyte": File("line 1: title has 1,048,576", passage(title="x" * 2**20)),
    "title with NUL": File("line 1: title holds a NUL", passage(title="\0")),
    # The language
    "lang of nowhere": File("line 1: unknown language code 'xx'", passage(lang="xx")),
    "lang in words": File("line 1: unknown language code 'english'", passage(lang="english")),
    "lang a number": File("line 1: lang must be a string", passage(lang=5)),
    "lang empty": File("line 1: unknown language code ''", passage(lang="")),
    # Metadata
    "metadata a list": File("line 1: metadata must be an object", passage(metadata=[1])),
    "metadata a string": File("line 1: metadata must be an object", passage(metadata="x")),
    "metadata NaN": File("line 1: NaN is not a JSON number", raw(b'"metadata": {"k": NaN}')),
    "metadata Infinity": File("-Infinity is not a JSON", raw(b'"metadata": {"k": -Infinity}')),
    "metadata 1e400": File("line 1: metadata.k is inf", raw(b'"metadata": {"k": 1e400}')),
    "metadata 2**63": File(
        "line 1: metadata.k is a number beyond 64", passage(metadata={"k": 2**63})
    ),
    "metadata of 5,000 digits": File(
        "line 1: a number of thousands of digits", raw(b'"metadata": {"k": ' + b"9" * 5_000 + b"}")
    ),
    "metadata 33 deep": File("line 1: metadata is nested more than 32 deep", nested(33)),
    "metadata 130 deep": File("line 1: metadata is nested more than 32 deep", nested(130)),
    "metadata 900 deep": File("line 1: metadata is nested more than 32 deep", nested(900)),
    "metadata too long": File(
        "line 1: metadata has over 262,144", passage(metadata={"k": "x" * 300_000})
    ),
    "metadata with NUL": File("line 1: metadata.k holds a NUL", passage(metadata={"k": "\0"})),
    "metadata with a surrogate": File("metadata.k holds a lone", passage(metadata={"k": "\udc00"})),
    "a surrogate as key": File("a key of metadata holds a lone", passage(metadata={"\udc00": 1})),
    # Queries
    "query of an unknown passage": File(
        "line 2: a query for the unknown passage 'z'", GOOD, QUERY + query(passage_id="z")
    ),
    "query without passage": File("line 1: no field 'passage_id'", GOOD, b'{"text": "x"}\n'),
    "query without language": File("line 1: no field 'lang'", GOOD, query(lang=None)),
    "query in no language": File("line 1: unknown language code 'q'", GOOD, query(lang="q")),
    "query without text": File("line 1: no field 'text'", GOOD, query(text=None)),
    "query blank": File("line 1: text is empty", GOOD, query(text=" ")),
    "query too long": File("line 1: text has 8,193", GOOD, query(text="x" * 8_193)),
    "query with a surrogate": File("line 1: text holds a lone", GOOD, query(text="\udfff")),
    "score in words": File("line 1: score must be a number", GOOD, query(score="1")),
    "score true": File("line 1: score must be a number, not a bool", GOOD, query(score=True)),
    "score NaN": File("line 1: NaN is not a JSON", GOOD, QUERY[:-2] + b', "score": NaN}\n'),
    "score 1e400": File("line 1: score is inf", GOOD, QUERY[:-2] + b', "score": 1e400}\n'),
    "query with metadata": File("line 1: unknown field 'metadata'", GOOD, query(metadata={})),
    "queries a list": File("line 1: expected a JSON object", GOOD, b"[1]\n"),
    "queries not UTF-8": File("line 2: not UTF-8", GOOD, QUERY + b"\xff\n"),
    "queries in the place of passages": File("line 1: no field 'id'", QUERY, GOOD),
}

FINE_FILES: dict[str, File] = {
    # What looks odd and is right: 1 passage "a", with at most one query.
    "a byte order mark": File("", b"\xef\xbb\xbf" + GOOD),
    "Windows line ends": File("", GOOD.replace(b"\n", b"\r\n") + b"\r\n"),
    "no line end": File("", GOOD.strip()),
    "blank lines between": File("", b"\n\n" + GOOD + b"\n"),
    "the same passage twice": File("", GOOD + GOOD),
    "escaped and not": File("", GOOD + b'{"id": "a", "text": "\\u0067ood"}\n'),
    "null where nothing need be": File("", passage(title=None, lang=None, metadata=None)),
    "gzip in two parts": File("", gzip.compress(GOOD) + gzip.compress(b"\n"), name="p.jsonl.gz"),
    "metadata 32 deep": File("", nested(31)),
    "a score that is whole": File("", GOOD, query(score=1)),
    "the whole of 64 bits": File("", passage(metadata={"k": [2**63 - 1, -(2**63)]})),
}


@dataclass(frozen=True)
class Records:
    """Python objects that cannot be loaded, or settings that cannot be loaded with."""

    says: str
    passages: Any = field(default_factory=lambda: [Passage("a", "good")])
    queries: Any = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    collection: Any = "c"
    error: type[XqgError] = InputError


def _with(value: object) -> list[Passage]:
    return [Passage("a", "good", metadata={"k": value})]


_loop: dict[str, Any] = {}
_loop["k"] = _loop

RECORDS: dict[str, Records] = {
    "no passages": Records("there are no passages", []),
    "None": Records("passages: a NoneType", None),
    "a number": Records("passages: a int", 5),
    "a mapping": Records("passage 1: expected a Passage, got a str", {"id": "a", "text": "b"}),
    "bytes": Records("passage 1: expected a Passage, got a int", b"ab"),
    "a tuple": Records("passage 1: expected a Passage, got a tuple", [("a", "b")]),
    "an unknown field": Records("passage 1: .*url", [{"id": "a", "text": "b", "url": "c"}]),
    "a field missing": Records("passage 1: .*text", [{"id": "a"}]),
    "a number as field": Records("passage 1: .*strings", [{1: "a"}]),
    "id True": Records("passage 1: id must be a string, not a bool", [Passage(True, "x")]),  # type: ignore[arg-type]
    "id bytes": Records("id must be a string, not a bytes", [Passage(b"a", "x")]),  # type: ignore[arg-type]
    "id a UUID": Records("id must be a string, not a UUID", [Passage(uuid.UUID(int=1), "x")]),  # type: ignore[arg-type]
    "id numpy's": Records("id must be a string, not a int64", [Passage(np.int64(3), "x")]),  # type: ignore[arg-type]
    "text None": Records("passage 2: text must be", [Passage("a", "x"), Passage("b", None)]),  # type: ignore[arg-type]
    "equal ids": Records("the id 'a' stands already", [Passage("a", "x"), Passage("a", "y")]),
    "metadata NaN": Records("metadata.k is nan", _with(float("nan"))),
    "metadata numpy's NaN": Records("metadata.k is nan", _with(np.float64("nan"))),
    "metadata infinity": Records("metadata.k is inf", _with(float("inf"))),
    "metadata a set": Records("metadata.k is a set", _with({1})),
    "metadata a date": Records("metadata.k is a date", _with(datetime.date(2020, 1, 1))),
    "metadata a time": Records("metadata.k is a datetime", _with(datetime.datetime(2020, 1, 1))),
    "metadata bytes": Records("metadata.k is a bytes", _with(b"x")),
    "metadata a Decimal": Records("metadata.k is a Decimal", _with(decimal.Decimal(1))),
    "metadata a UUID": Records("metadata.k is a UUID", _with(uuid.UUID(int=1))),
    "metadata a path": Records("metadata.k is a PosixPath", _with(Path("/tmp"))),
    "metadata an array": Records("metadata.k is a ndarray", _with(np.ones(2))),
    "metadata numpy's bool": Records("metadata.k is a bool", _with(np.True_)),
    "metadata numpy's int": Records("metadata.k is a int64", _with(np.int64(1))),
    "metadata complex": Records("metadata.k is a complex", _with(1j)),
    "metadata a function": Records("metadata.k is a builtin", _with(len)),
    "metadata 2**70": Records("metadata.k is a number beyond 64 bits", _with(2**70)),
    "metadata that holds itself": Records("nested more than 32 deep", _with(_loop)),
    "metadata with a number as key": Records("has the key 1", _with({1: 2})),
    "metadata None": Records("metadata must be an object", [Passage("a", "x", metadata=None)]),  # type: ignore[arg-type]
    "queries None": Records("queries: a NoneType", queries=None),
    "a query no query": Records("query 1: expected a GeneratedQuery", queries=["x"]),
    "a passage as query": Records(
        "query 1: expected a GeneratedQuery", queries=[Passage("a", "x")]
    ),
    "query score NaN": Records(
        "query 1: score is nan", queries=[GeneratedQuery("a", "sw", "x", float("nan"))]
    ),
    "query score beyond floats": Records(
        "query 1: score is inf", queries=[GeneratedQuery("a", "sw", "x", 10**400)]
    ),
    "query of a stranger": Records("unknown passage 'z'", queries=[GeneratedQuery("z", "sw", "x")]),
    "layout of nowhere": Records("unknown layout 'x'", settings={"layout": "x"}),
    "layout a list": Records("unknown layout", settings={"layout": ["fused"]}),
    "layout None": Records("unknown layout None", settings={"layout": None}),
    "alpha 1.1": Records("alpha is 1.1", settings={"alpha": 1.1}),
    "alpha -0.1": Records("alpha is -0.1", settings={"alpha": -0.1}),
    "alpha NaN": Records("alpha is nan", settings={"alpha": float("nan")}),
    "alpha in words": Records("alpha is '0.1'", settings={"alpha": "0.1"}),
    "alpha True": Records("alpha is True", settings={"alpha": True}),
    "alpha huge": Records("alpha is", settings={"alpha": 10**400}),
    "alpha where nothing is summed": Records(
        "sums no queries", settings={"alpha": 0.5, "layout": "multivector"}
    ),
    "another alpha": Records(
        "built with another alpha", settings={"alpha": 0.9}, error=CollectionMismatch
    ),
    "another layout": Records(
        "built with another layout", settings={"layout": "fused"}, error=CollectionMismatch
    ),
    "now hybrid": Records(
        r"hybrid \(False, now True\)", settings={"hybrid": True}, error=CollectionMismatch
    ),
    "a new language": Records(
        "another languages",
        queries=[GeneratedQuery("a", "ko", "x")],
        error=CollectionMismatch,
    ),
    "batch size 0": Records("batch_size must be", settings={"batch_size": 0}),
    "batch size 10**9": Records("batch_size must be", settings={"batch_size": 10**9}),
    "batch size 1.5": Records("batch_size must be", settings={"batch_size": 1.5}),
    "batch size in words": Records("batch_size must be", settings={"batch_size": "8"}),
    "batch size True": Records("batch_size must be", settings={"batch_size": True}),
    "languages a number": Records("languages is a int", settings={"languages": 5}),
    "languages of nowhere": Records("code 'xx'", settings={"languages": ["xx"]}),
    "languages None in a list": Records("must be a string", settings={"languages": [None]}),
    "generator a number": Records("generator must be a string", settings={"generator": 5}),
    "generator False": Records("generator must be a string", settings={"generator": False}),
    "generator a surrogate": Records("generator holds a lone", settings={"generator": "\ud800"}),
    "generator NUL": Records("generator holds a NUL", settings={"generator": "\0"}),
    "generator too long": Records("generator has", settings={"generator": "x" * 10_000}),
    "collection a number": Records("cannot name a collection", collection=5),
    "collection a list": Records("cannot name a collection", collection=["c"]),
    "collection None": Records("cannot name a collection", collection=None),
    "collection empty": Records("cannot name a collection", collection=""),
    "collection ..": Records("cannot name a collection", collection=".."),
    "collection a path": Records("cannot name a collection", collection="../c"),
    "collection hidden": Records("cannot name a collection", collection=".c"),
    "collection with NUL": Records("cannot name a collection", collection="c\0"),
    "collection with a line end": Records("cannot name a collection", collection="c\n"),
    "collection in Greek": Records("cannot name a collection", collection="αβγ"),
    "collection too long": Records("cannot name a collection", collection="c" * 129),
}


@dataclass(frozen=True)
class Search:
    """A search that cannot be; ``flags`` say the same on the command line, which exits so."""

    says: str
    question: Any = "river"
    settings: Mapping[str, Any] = field(default_factory=dict)
    collection: Any = "c"
    error: type[XqgError] = InputError
    flags: Sequence[str] | None = None
    code: int = 2


SEARCHES: dict[str, Search] = {
    "question empty": Search("question 0 is empty", "", flags=["", "-c", "c"]),
    "question blank": Search("question 0 is empty", " \u3000", flags=[" \u3000", "-c", "c"]),
    "question None": Search("question 0 must be a string", None),
    "question a number": Search("question 0 must be a string", 5),
    "question bytes": Search("question 0 must be a string", b"river"),
    "question too long": Search(
        "question 0 has 8,193", "x" * 8_193, flags=["x" * 8_193, "-c", "c"], code=1
    ),
    "question with a surrogate": Search("question 0 holds a lone", "\ud800"),
    "question with NUL": Search("question 0 holds a NUL", "a\0"),
    "lang of nowhere": Search(
        "code 'xx'", settings={"lang": "xx"}, flags=["river", "-c", "c", "--lang", "xx"]
    ),
    "lang a number": Search("lang is a int", settings={"lang": 5}),
    "lang with a surrogate": Search("code '", settings={"lang": "\ud800"}),
    "limit 0": Search("limit is 0", settings={"limit": 0}, flags=["river", "-c", "c", "-k", "0"]),
    "limit -1": Search("limit is -1", settings={"limit": -1}, flags=["river", "-k", "-1"]),
    "limit 10,001": Search(
        "limit is 10001", settings={"limit": 10_001}, flags=["x", "-k", "10001"]
    ),
    "limit 1.5": Search("limit is 1.5", settings={"limit": 1.5}, flags=["x", "-k", "1.5"]),
    "limit True": Search("limit is True", settings={"limit": True}),
    "limit None": Search("limit is None", settings={"limit": None}),
    "limit huge": Search("limit is", settings={"limit": 10**30}, flags=["x", "-k", "1" * 31]),
    "filters a list": Search("filters is a list", settings={"filters": [("a", 1)]}),
    "filters a string": Search("filters is a str", settings={"filters": "a=1"}),
    "filter None": Search("filter 'a' wants None", settings={"filters": {"a": None}}),
    "filter NaN": Search("filter 'a' wants nan", settings={"filters": {"a": float("nan")}}),
    "filter infinity": Search("filter 'a' wants inf", settings={"filters": {"a": float("inf")}}),
    "filter 2**63": Search(
        "filter 'a' wants 9223372036854775808",
        settings={"filters": {"a": 2**63}},
        flags=["river", "-c", "c", "--filter", "a=9223372036854775808"],
        code=1,
    ),
    "filter a date": Search(
        "filter 'a' wants", settings={"filters": {"a": datetime.date(2020, 1, 1)}}
    ),
    "filter bytes": Search("filter 'a' wants", settings={"filters": {"a": b"x"}}),
    "filter a list in a list": Search("filter 'a' wants", settings={"filters": {"a": [[1]]}}),
    "filter by nothing": Search("lists no values", settings={"filters": {"a": []}}),
    "filter with a surrogate": Search("holds a lone", settings={"filters": {"a": "\ud800"}}),
    "filter on a surrogate": Search("holds a lone", settings={"filters": {"\ud800": 1}}),
    "filter on a number": Search("name a metadata field", settings={"filters": {1: 1}}),
    "filter on nothing": Search("name a metadata field", settings={"filters": {"": 1}}),
    "filter on two dots": Search(
        "name a metadata field",
        settings={"filters": {"a..b": 1}},
        flags=["river", "-c", "c", "--filter", "a..b=1"],
        code=1,
    ),
    "filter on a quote": Search("quotes and backslashes", settings={"filters": {'a"b': 1}}),
    "bounds empty": Search("bounds are", settings={"filters": {"a": {}}}),
    "bounds unknown": Search("bounds are", settings={"filters": {"a": {"above": 1}}}),
    "bounds in words": Search(
        "gte is '1', not a number",
        settings={"filters": {"a": {"gte": "1"}}},
        flags=["river", "-c", "c", "--filter", 'a>="1"'],
        code=1,
    ),
    "bounds True": Search("gte is True", settings={"filters": {"a": {"gte": True}}}),
    "bounds NaN": Search("give a finite", settings={"filters": {"a": {"gte": float("nan")}}}),
    "bounds beyond floats": Search("64 bits", settings={"filters": {"a": {"gte": 10**400}}}),
    "passage language of nowhere": Search(
        "code 'zz'",
        settings={"passage_lang": "zz"},
        flags=["river", "-c", "c", "--passage-lang", "zz"],
    ),
    "passage language a number": Search(
        "passage languages are a int", settings={"passage_lang": 5}
    ),
    "passage language None in a list": Search(
        "must be a string", settings={"passage_lang": [None]}
    ),
    "alpha where it is fixed": Search(
        "whose alpha cannot be chosen",
        settings={"alpha": 0.5},
        flags=["river", "-c", "c", "--alpha", "0.5"],
        code=1,
    ),
    "weights where they are fixed": Search(
        "whose language_weights cannot be chosen",
        settings={"language_weights": {"sw": 1.0}},
        flags=["river", "-c", "c", "--language-weights", "sw=1"],
        code=1,
    ),
    "alpha out of range": Search("alpha is 1.5", settings={"alpha": 1.5}, collection="tunable"),
    "alpha NaN": Search("alpha is nan", settings={"alpha": float("nan")}, collection="tunable"),
    "weights a list": Search(
        "language_weights is a list", settings={"language_weights": [1]}, collection="tunable"
    ),
    "weight negative": Search(
        "is -1.0: give 0", settings={"language_weights": {"sw": -1.0}}, collection="tunable"
    ),
    "weight NaN": Search(
        "is nan", settings={"language_weights": {"sw": float("nan")}}, collection="tunable"
    ),
    "weight beyond floats": Search(
        "out of range", settings={"language_weights": {"sw": 10**400}}, collection="tunable"
    ),
    "weight 1e39": Search(
        r"is 1e\+39", settings={"language_weights": {"sw": 1e39}}, collection="tunable"
    ),
    "weight True": Search(
        "is True", settings={"language_weights": {"sw": True}}, collection="tunable"
    ),
    "weight of a stranger": Search(
        "no queries in 'ko'", settings={"language_weights": {"ko": 1}}, collection="tunable"
    ),
    "hybrid where there is none": Search(
        "no lexical vectors",
        settings={"hybrid": True},
        flags=["river", "-c", "c", "--hybrid"],
        code=1,
    ),
    "no such collection": Search(
        "no collection 'absent'",
        collection="absent",
        error=CollectionNotFound,
        flags=["river", "-c", "absent"],
        code=1,
    ),
    "collection a path": Search(
        "cannot name a collection", collection="../c", flags=["river", "-c", "../c"], code=1
    ),
    "collection a list": Search("cannot name a collection", collection=["c"]),
    "collection None": Search("cannot name a collection", collection=None),
}

ID = str(uuid.UUID(int=7))
VECTOR = np.ones(DIMENSION, np.float32)
ROWS = np.ones((2, DIMENSION), np.float32)
SPARSE = SparseVector(np.array([1, 5], np.uint32), np.array([1, 2], np.float32))


def _point(**changed: Any) -> Point:
    """A point of a collection with a dense, a multi- and a sparse vector, some of it changed."""
    vectors = {"dense": VECTOR, "rows": ROWS, "sparse": SPARSE} | {
        name: value
        for name, value in changed.items()
        if name in ("dense", "rows", "sparse", "more")
    }
    vectors = {name: value for name, value in vectors.items() if value is not None}
    return Point(changed.get("id", ID), changed.get("payload", {}), vectors)


def _sparse(indices: Any, values: Any) -> SparseVector:
    return SparseVector(np.asarray(indices), np.asarray(values))


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"k": value}
    return value


_nan = np.array([1, np.nan, 1, 1], np.float32)
_inf = np.array([1, np.inf, 1, 1], np.float32)
_u32, _f32 = np.uint32, np.float32

# What the table of "what Edge does" is about, and its neighbours.
POINTS: dict[str, tuple[Point, str]] = {
    "sparse of different lengths": (
        _point(sparse=_sparse(np.array([1, 2, 3], _u32), np.array([1, 2], _f32))),
        "3 indices but 2 values",
    ),
    "sparse index twice": (
        _point(sparse=_sparse(np.array([1, 1], _u32), np.array([1, 2], _f32))),
        "has an index twice",
    ),
    "sparse NaN": (
        _point(sparse=_sparse(np.array([1, 2], _u32), np.array([1, np.nan], _f32))),
        "NaN or infinity",
    ),
    "sparse index negative": (
        _point(sparse=_sparse(np.array([-1, 2], np.int64), np.array([1, 2], _f32))),
        "uint32, float32",
    ),
    "sparse of lists": (_point(sparse=SparseVector([1], [1.0])), "1-d numpy arrays"),  # type: ignore[arg-type]
    "sparse of a table": (
        _point(sparse=_sparse(np.ones((1, 1), _u32), np.ones((1, 1), _f32))),
        "1-d numpy arrays",
    ),
    "dense in the place of sparse": (_point(sparse=VECTOR), "give a SparseVector"),
    "sparse in the place of dense": (_point(dense=SPARSE), "numpy array of float32"),
    "ragged multivector": (_point(rows=[[1.0, 2.0], [1.0]]), "numpy array of float32"),
    "ragged multivector of numpy": (
        _point(rows=np.array([np.ones(4), np.ones(3)], dtype=object)),
        "numpy array of float32",
    ),
    "multivector of no rows": (_point(rows=np.ones((0, 4), _f32)), "wants \\(1 or more, 4\\)"),
    "multivector of other rows": (_point(rows=np.ones((2, 3), _f32)), "wants \\(1 or more, 4\\)"),
    "multivector in one row": (_point(rows=VECTOR), "wants \\(1 or more, 4\\)"),
    "multivector NaN": (_point(rows=np.stack([VECTOR, _nan])), "NaN or infinity"),
    "multivector too large": (_point(rows=np.ones((2**18, 4), _f32)), "fewer than 1,048,576"),
    "payload nested 130 deep": (_point(payload=_deep(130)), "nested more than"),
    "payload nested 900 deep": (_point(payload=_deep(900)), "nested more than"),
    "wrong dimension": (_point(dense=np.ones(3, _f32)), "shape \\(3,\\)"),
    "no numbers": (_point(dense=np.ones(0, _f32)), "shape \\(0,\\)"),
    "a table": (_point(dense=ROWS), "shape \\(2, 4\\)"),
    "float64": (_point(dense=np.ones(4)), "numpy array of float32"),
    "float16": (_point(dense=np.ones(4, np.float16)), "numpy array of float32"),
    "integers": (_point(dense=np.ones(4, np.int64)), "numpy array of float32"),
    "a list": (_point(dense=[1.0] * 4), "numpy array of float32"),
    "NaN": (_point(dense=_nan), "NaN or infinity"),
    "infinity": (_point(dense=_inf), "NaN or infinity"),
    "vector missing": (_point(dense=None), "has vectors \\['rows', 'sparse'\\]"),
    "vector too many": (_point(more=VECTOR), "wants \\['dense', 'rows', 'sparse'\\]"),
    "payload NaN": (_point(payload={"k": float("nan")}), "payload.k is nan"),
    "payload infinity": (_point(payload={"k": float("-inf")}), "payload.k is -inf"),
    "payload a set": (_point(payload={"k": {1}}), "payload.k is a set"),
    "payload a time": (_point(payload={"k": datetime.datetime(2020, 1, 1)}), "is a datetime"),
    "payload bytes": (_point(payload={"k": b"x"}), "payload.k is a bytes"),
    "payload 2**70": (_point(payload={"k": 2**70}), "beyond 64 bits"),
    "payload a surrogate": (_point(payload={"k": "\ud800"}), "lone surrogate"),
    "payload a surrogate key": (_point(payload={"\ud800": 1}), "lone surrogate"),
    "payload NUL": (_point(payload={"k": "\0"}), "NUL"),
    "payload a number as key": (_point(payload={"m": {1: 2}}), "keys must be strings"),
    "payload None": (_point(payload=None), "payload must be an object, not null"),
    "payload a list": (_point(payload=[1]), "payload must be an object, not a list"),
    "id True": (_point(id=True), "no string"),
    "id a number": (_point(id=7), "no string"),
    "id no UUID": (_point(id="7"), "no UUID"),
    "id in capitals": (_point(id="ABCDEF00-0000-4000-8000-000000000000"), "write it as"),
    "id in braces": (_point(id="{00000000-0000-0000-0000-000000000007}"), "write it as"),
    "id None": (_point(id=None), "no string"),
}

# Locations and models that no client can have; nothing is there afterwards.
PLACES: dict[str, tuple[Any, str]] = {
    "a number": (5, "the location is a int"),
    "bytes": (b"data", "the location is a bytes"),
    "empty": ("", "no place for collections"),
    "blank": ("  ", "no place for collections"),
    "NUL": ("a\0b", "no place for collections"),
    "a surrogate": ("\ud800", "no place for collections"),
    "another scheme": ("redis://localhost", "redis:// is no place"),
    "a file scheme": ("file:///tmp/x", "file:// is no place"),
    "no host": ("http://", "is no URL"),
    "a port in words": ("http://localhost:port", "malformed"),
    "a port too large": ("http://localhost:99999", "malformed"),
    "a blank in it": ("http://local host:6333", "is no URL"),
    "half an address": ("http://[::1", "malformed"),
}

MODELS: dict[str, tuple[Any, type[XqgError], str]] = {
    "a number": (5, InputError, "encoder is a int"),
    "bytes": (b"tiny", InputError, "encoder is a bytes"),
    "unknown": ("absent", ModelError, "no model named 'absent'"),
    "empty": ("", ModelError, "no model named ''"),
    "NUL": ("a\0b", ModelError, "no model named"),
    "no such folder": ("./absent", ModelError, "no such model folder"),
    "no such path": (Path("absent"), ModelError, "no such model folder"),
}
