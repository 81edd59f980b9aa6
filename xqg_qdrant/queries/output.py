"""How a generated query is written to a file."""

from __future__ import annotations

import json
from typing import Any

from xqg_qdrant.records import GeneratedQuery

_DIGITS = 6
"""Of a score, after the point."""


def query_line(query: GeneratedQuery) -> str:
    """A query as :func:`xqg_qdrant.corpus.jsonl.read_queries` reads it, with its line's end."""
    row: dict[str, Any] = {
        "passage_id": query.passage_id,
        "lang": query.lang,
        "text": query.text,
    }
    if query.score is not None:
        row["score"] = round(query.score, _DIGITS)
    return json.dumps(row, ensure_ascii=False) + "\n"
