"""XQuAD-R folders, written here, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def paragraph(
    context: str, questions: Mapping[str, str], sentences: Sequence[str] | None = None
) -> dict[str, Any]:
    """A paragraph in upstream's layout.

    Args:
        context: its text.
        questions: by their upstream id.
        sentences: of the text; upstream's XQuAD has none, XQuAD-R has.
    """
    row: dict[str, Any] = {
        "context": context,
        "qas": [
            {"id": upstream_id, "question": text, "answers": []}
            for upstream_id, text in questions.items()
        ],
    }
    if sentences is not None:
        row["sentences"] = list(sentences)
    return row


def write_language(folder: Path, language: str, *articles: Sequence[dict[str, Any]]) -> Path:
    """Write ``LANGUAGE.json`` with these articles, each a list of paragraphs."""
    data = [
        {"title": f"Article_{number}", "paragraphs": list(paragraphs)}
        for number, paragraphs in enumerate(articles)
    ]
    path = folder / f"{language}.json"
    path.write_text(json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")
    return path
