"""A stand-in for the inputs of xQG's paper, in the data sets' own formats: a few kilobytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.tiny import build_encoder
from xqg_qdrant.evaluation.reproduction.inputs import (
    AUGMENTED_FOLDER,
    CORPUS_FILE,
    ENCODERS_FOLDER,
    QUERIES_FILE,
    QUESTIONS_FILE,
)
from xqg_qdrant.evaluation.reproduction.paper import LANGUAGES, SHARDS

LETTERS = "acegikmoqs"
WORDS = 700
"""Of each passage: R@2kt looks at not quite three, R@5kt at not quite eight."""


def rows() -> list[dict[str, object]]:
    """Passages that look like answers to the next one's question; their queries put them right.

    The first query of each language says nothing, the next four are right, and the sixth is wrong:
    the paper takes five.
    """
    found: list[dict[str, object]] = []
    for n, letter in enumerate(LETTERS):
        wrong = LETTERS[(n + 1) % len(LETTERS)]
        queries = ["zy", *([letter * 3] * 4), wrong * 60]
        found.append(
            {
                "docid": str(n),
                "title": "",
                "text": f"{wrong * 12} " + "zy " * (WORDS - 2) + f"answer{n}",
                "generated_queries": dict.fromkeys(LANGUAGES, queries),
            }
        )
    return found


def write_questions(folder: Path, languages: Sequence[str] = LANGUAGES) -> Path:
    """Each letter is asked for in each language; one question has but a yes for an answer."""
    asked: list[dict[str, object]] = [
        {
            "id": f"{language}{n}",
            "question": letter * 4,
            "lang": language,
            "answers": [f"answer{n}"],
            "split": "dev",
        }
        for language in languages
        for n, letter in enumerate(LETTERS)
    ]
    asked.append({"id": "yes", "question": "aaaa", "lang": languages[0], "answers": ["yes"]})
    return _write(folder / QUESTIONS_FILE, asked)


def write_augmented(folder: Path, shards: int = SHARDS) -> Path:
    """Passages with queries, dealt to shards in their order; the last ones may be empty."""
    found = rows()
    data = folder / AUGMENTED_FOLDER / "data"
    data.mkdir(parents=True)
    for number in range(shards):
        _write(data / f"shard_{number}.jsonl", found[number : number + 1])
    return data


def write_corpus(folder: Path) -> Path:
    """The passages alone."""
    lines = [f"{row['docid']}\t{row['text']}\t{row['title']}\n" for row in rows()]
    path = folder / CORPUS_FILE
    path.write_text("id\ttext\ttitle\n" + "".join(lines), encoding="utf-8")
    return path


def write_queries(folder: Path) -> Path:
    """The queries alone, as 'xqg generate' writes them."""
    found = []
    for row in rows():
        queries = row["generated_queries"]
        assert isinstance(queries, dict)
        for language, texts in queries.items():
            found += [
                {"passage_id": row["docid"], "lang": language, "text": text} for text in texts
            ]
    return _write(folder / QUERIES_FILE, found)


def write_encoder(folder: Path, name: str, *, seed: int = 0) -> Path:
    """A tiny encoder in the place of one of the paper's."""
    return build_encoder(
        folder / ENCODERS_FOLDER / name,
        name=name,
        seed=seed,
        normalize=False,
        query_length=32,
        passage_length=128,
    )


def _write(path: Path, found: Sequence[dict[str, object]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    path.write_text("".join(lines), encoding="utf-8")
    return path
