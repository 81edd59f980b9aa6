"""AfriQA folders, written here, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_split(folder: Path, language: str, split: str, *rows: dict[str, Any]) -> Path:
    """Write the gold passages of a language and split as upstream lays them out."""
    path = folder / language / f"gold_span_passages.afriqa.{language}.en.{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(question: str | None, context: str | None, **more: Any) -> dict[str, Any]:
    """A row; upstream has more fields, of which none is read."""
    return {
        "id": "0",
        "question_lang": question,
        "question_translated": "?",
        "context": context,
        "title": "A title",
        "answer_lang": "1",
        "answer_pivot": {"answer_start": [0], "text": ["1"]},
        **more,
    }
