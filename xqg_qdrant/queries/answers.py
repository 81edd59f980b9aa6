"""Answers of an endpoint: the formats asked for, and what is read from a completion."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, NamedTuple

SYSTEM = (
    "You write search queries. Answer with one JSON object and nothing else: "
    '{"queries": ["...", "..."]}, a list of strings, as many as asked for.'
)

FORMATS: tuple[dict[str, Any] | None, ...] = (
    {
        "type": "json_schema",
        "json_schema": {
            "name": "queries",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"queries": {"type": "array", "items": {"type": "string"}}},
                "required": ["queries"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "json_object"},
    None,
)
"""Values of ``response_format``, the strictest first; None leaves it out."""

_SHOWN = 80
_MOST_OPENINGS = 100


class Answer(NamedTuple):
    """What an endpoint answered.

    Attributes:
        queries: the texts; None where there are none to be had.
        refused: the model, or a filter before it, declined.
        shown: the beginning of an answer that is not what was asked for.
    """

    queries: list[str] | None
    refused: bool
    shown: str


def read_answer(completion: Any) -> Answer:
    """Read a chat completion, of whatever shape servers give it."""
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        return Answer(None, refused=False, shown=str(completion)[:_SHOWN])
    choice = choices[0]
    message = getattr(choice, "message", None)
    if (
        getattr(message, "refusal", None)
        or getattr(choice, "finish_reason", None) == "content_filter"
    ):
        return Answer(None, refused=True, shown="")
    content = getattr(message, "content", None)
    text = content if isinstance(content, str) else ""
    return Answer(_queries_in(text), refused=False, shown=text[:_SHOWN])


def _queries_in(text: str) -> list[str] | None:
    """The queries of the first JSON value in a text, fenced or talked around as it may be."""
    decoder = json.JSONDecoder()
    openings = (place for place, char in enumerate(text) if char in "{[")
    for start in islice(openings, _MOST_OPENINGS):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits
            continue
        found = value.get("queries") if isinstance(value, dict) else value
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    return None
