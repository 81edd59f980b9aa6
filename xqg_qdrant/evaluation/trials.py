"""Data sets as trials: what experiments ask, and what may augment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.corpus.beir import open_beir
from xqg_qdrant.corpus.jsonl import read_queries
from xqg_qdrant.corpus.xquad_r import (
    POOL_LANGUAGE,
    files_of,
    paragraphs_of,
    read_xquad_r,
)
from xqg_qdrant.errors import InputError
from xqg_qdrant.queries.sentences import split_sentences
from xqg_qdrant.records import Passage, Qrel, Question

FOLDS = 2
EVERY_FOLD = -1
EVERYONE = ""
"""Language of an addition that is for askers of every language, as the own sentences are."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A text that may be added to a passage's vector.

    Attributes:
        passage_id: whose.
        lang: its language, or EVERYONE.
        text: the text.
        fold: in which it may be used: that of the questions that it does not meet.
    """

    passage_id: str
    lang: str
    text: str
    fold: int = EVERY_FOLD


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of an experiment.

    Attributes:
        question: the question.
        fold: that it is asked in.
        group: what is kept together in cross-validation, an article; the question's own id where
            there is nothing of the kind.
        cluster: what its translations have in common.
    """

    question: Question
    fold: int
    group: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What is needed for experiments on a data set.

    Attributes:
        name: of the data set.
        passages: the pool.
        asked: the questions.
        qrels: their answers.
        queries: generated, or others' questions in two folds.
        sentences: the passages' own, the control; empty where it was not asked for.
        translations: the passages in the askers' languages; empty where there are none.
    """

    name: str
    passages: Sequence[Passage]
    asked: Sequence[Asked]
    qrels: Sequence[Qrel]
    queries: Sequence[Addition] = ()
    sentences: Sequence[Addition] = ()
    translations: Sequence[Addition] = ()


def open_trial(
    folder: Path,
    *,
    queries: Path | None = None,
    articles: tuple[int, int] | None = None,
    split: str | None = None,
    augmented: bool = True,
    sentences: bool = False,
    translations: bool = False,
) -> Trial:
    """Read a data set for experiments: XQuAD-R, AfriQA or BEIR, told apart by their files.

    Args:
        folder: of the data set.
        queries: JSONL of generated queries; without it XQuAD-R's own questions augment, in two
            folds, so that none meets itself.
        articles: of XQuAD-R, first and last, whose questions are asked; all when None.
        split: of AfriQA and BEIR, whose questions are asked.
        augmented: take queries; where not, they come from elsewhere, a collection.
        sentences: take the passages' own sentences too.
        translations: take XQuAD-R's paragraphs in the other languages too.

    Raises:
        InputError: it is none of these, a file is malformed, or there is nothing to augment with.
    """
    if (folder / f"{POOL_LANGUAGE}.json").is_file():
        return _xquad_r(
            folder,
            queries,
            articles,
            augmented=augmented,
            sentences=sentences,
            translations=translations,
        )
    if translations:
        raise InputError(f"{folder}: the passages in the askers' languages are XQuAD-R's alone")
    if (folder / "corpus.jsonl").is_file() or (folder / "corpus.jsonl.gz").is_file():
        trial = _beir(folder, queries, split or "test", augmented=augmented)
    else:
        trial = _afriqa(folder, queries, split, augmented=augmented)
    if not sentences:
        return trial
    return replace(trial, sentences=list(_sentences(trial.passages, {})))


def _xquad_r(
    folder: Path,
    queries: Path | None,
    articles: tuple[int, int] | None,
    *,
    augmented: bool,
    sentences: bool,
    translations: bool,
) -> Trial:
    data = read_xquad_r(folder)
    counted = data.of_articles(articles)
    added: list[Addition] = []
    if augmented and queries is not None:
        added = _read(queries)
    elif augmented:
        added = [
            Addition(
                placed.passage_id,
                placed.question.lang,
                placed.question.text,
                (placed.position + 1) % FOLDS,
            )
            for placed in data.questions
        ]
    return Trial(
        "xquad-r",
        data.passages,
        [
            Asked(
                placed.question,
                # A question is asked in the fold whose queries are those of the other parity.
                placed.position % FOLDS if augmented and queries is None else 0,
                str(placed.article),
                placed.upstream_id,
            )
            for placed in counted
        ],
        [placed.qrel for placed in counted],
        added,
        list(_sentences(data.passages, data.sentences)) if sentences else (),
        list(_translations(folder, {passage.id for passage in data.passages}))
        if translations
        else (),
    )


def _translations(folder: Path, pool: set[str]) -> Iterator[Addition]:
    """Each paragraph in each other language: the files are parallel."""
    for language, path in files_of(folder).items():
        if language == POOL_LANGUAGE:
            continue
        found = 0
        for passage_id, _, paragraph, where in paragraphs_of(path):
            if passage_id not in pool:
                raise InputError(f"{where}: the English file has no such paragraph")
            found += 1
            yield Addition(passage_id, language, str(paragraph.get("context", "")))
        if found != len(pool):
            raise InputError(
                f"{path}: {found} paragraphs, the English file has {len(pool)}: they are not "
                "translations of one another"
            )


def _beir(folder: Path, queries: Path | None, split: str, *, augmented: bool) -> Trial:
    data = open_beir(folder, split=split)
    return Trial(
        folder.name,
        list(data.passages),
        [Asked(each, 0, each.id, each.id) for each in data.questions],
        data.qrels,
        _read(_needed(queries, folder)) if augmented else (),
    )


def _afriqa(folder: Path, queries: Path | None, split: str | None, *, augmented: bool) -> Trial:
    data = read_afriqa(folder, split=split)
    return Trial(
        "afriqa",
        data.passages,
        [Asked(each.question, 0, each.passage_id, each.question.id) for each in data.questions],
        [each.qrel for each in data.questions],
        _read(_needed(queries, folder)) if augmented else (),
    )


def _needed(queries: Path | None, folder: Path) -> Path:
    if queries is None:
        raise InputError(
            f"{folder} has no queries of its own to augment with: give --queries ('xqg generate' "
            "writes them)"
        )
    return queries


def _read(path: Path) -> list[Addition]:
    return [Addition(each.passage_id, each.lang, each.text) for _, each in read_queries(path)]


def _sentences(
    passages: Iterable[Passage], known: Mapping[str, Sequence[str]]
) -> Iterator[Addition]:
    """The passages' own sentences, split here where they are not known."""
    for passage in passages:
        for text in known.get(passage.id) or split_sentences(passage.text, passage.lang):
            yield Addition(passage.id, EVERYONE, text)
