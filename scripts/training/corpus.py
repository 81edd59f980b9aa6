"""The training corpus: what may be trained on, and what is held out.

``DATA/parallel/SOURCE/LANG.tsv`` holds lines of English TAB foreign TAB kind. Two sources hold
more: ``xquad_first24`` (passages and questions of XQuAD's first 24 articles) and ``afriqa``
(questions, each with an English passage that answers it).

Articles 1-16 of XQuAD are trained on, 17-24 are for development. Which article a line belongs to is
looked up by its text; a line that is not found in articles 1-16 is dropped, and so is every line of
any source that repeats a development question or eight words running of a development passage.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

# fmt: off
LANGUAGES = (
    "ar", "bn", "de", "el", "es", "fi", "ha", "hi", "ig", "ja", "ko",
    "ro", "ru", "rw", "sw", "te", "th", "tr", "vi", "yo", "zh", "zu",
)
# fmt: on
"""ISO 639-1 codes of every language beside English that the corpus holds."""

XQUAD_LANGUAGES = ("ar", "de", "el", "es", "hi", "ru", "th", "tr", "vi", "zh")
"""The languages of XQuAD-R beside English: those that figures are averaged over."""

TRAINED_ARTICLES = 16
"""XQuAD articles 1 to 16 are trained on; the later ones never are."""

IN_ORDER = ("ntrex", "tico19")
"""Sources whose sentences follow each other as they do in their documents."""

_XQUAD = "xquad_first24"
_AFRIQA = "afriqa"
_SHINGLE = 8


class Pair(NamedTuple):
    """Two texts of one meaning.

    Attributes:
        english: the English side.
        foreign: the other side.
        language: of the other side.
        kind: s sentence, q question, w word, n name, p passage.
        source: folder that it is from.
        line: its place in its file, for sources whose sentences are in order.
    """

    english: str
    foreign: str
    language: str
    kind: str
    source: str
    line: int


class Passage(NamedTuple):
    """An English passage.

    Attributes:
        title: of its document; may be empty.
        text: the passage.
        group: passages of one document share it.
    """

    title: str
    text: str
    group: str


class Asked(NamedTuple):
    """A question, or a sentence, and the passage that it belongs to.

    Attributes:
        text: the question.
        language: of the question.
        passage: index into ``Corpus.passages``.
    """

    text: str
    language: str
    passage: int


@dataclass(frozen=True)
class Corpus:
    """All that is trained on.

    Attributes:
        pairs: translations.
        passages: English passages.
        asked: questions and sentences that lead to a passage.
    """

    pairs: list[Pair]
    passages: list[Passage]
    asked: list[Asked]

    def english(self) -> list[str]:
        """Every distinct English string, in a fixed order."""
        texts = dict.fromkeys(pair.english for pair in self.pairs)
        texts.update(dict.fromkeys(passage.text for passage in self.passages))
        texts.update(dict.fromkeys(a.text for a in self.asked if a.language == "en"))
        return list(texts)

    def by_language(self) -> dict[str, list[str]]:
        """Every distinct string of each language, English included."""
        texts: dict[str, dict[str, None]] = {"en": dict.fromkeys(self.english())}
        for pair in self.pairs:
            texts.setdefault(pair.language, {})[pair.foreign] = None
        return {language: list(found) for language, found in texts.items()}


def load_corpus(data: Path, *, names_per_language: int, hold_out_afriqa: bool = False) -> Corpus:
    """Read everything under ``data/parallel`` that may be trained on.

    Args:
        data: the folder that holds ``parallel`` and ``xquad-r-dev``.
        names_per_language: how many person names of each language to keep; they would otherwise
            be a quarter of all lines.
        hold_out_afriqa: leave AfriQA's dev questions out, so that figures on them mean something.
    """
    split = XquadSplit(data)
    afriqa = list(_json_lines(data / "parallel" / _AFRIQA / "gold_passages.jsonl"))
    held_out: set[str] = set()
    if hold_out_afriqa:
        held_out = {row["q_en"] for row in afriqa if row["split"] == "dev"}
        afriqa = [row for row in afriqa if row["q_en"] not in held_out]
    pairs: list[Pair] = []
    for path in sorted((data / "parallel").glob("*/*.tsv")):
        source, language = path.parent.name, path.stem
        if language not in LANGUAGES:
            raise ValueError(f"{path}: {language} is none of the languages {LANGUAGES}")
        names = 0
        step = max(1, _count_lines(path) // names_per_language)
        for number, (english, foreign, kind) in enumerate(_lines(path)):
            if source == _XQUAD and not split.may_train(english, kind):
                continue
            if kind == "n" and source == "netransliteration":
                # Every so-manieth, not the first ones: the file is in alphabetical order.
                if number % step or names >= names_per_language:
                    continue
                names += 1
            if english in held_out or split.repeats_development(english):
                continue
            pairs.append(Pair(english, foreign, language, kind, source, number))
    passages = [Passage(title, text, title) for title, text in split.train_passages]
    asked = [Asked(text, language, passage) for text, language, passage in split.train_questions]
    where = {passage.text: index for index, passage in enumerate(passages)}
    for pair in pairs:
        if pair.source == _XQUAD and pair.kind == "s":
            found = next((i for text, i in where.items() if _squeeze(pair.english) in text), None)
            if found is not None:
                asked.append(Asked(pair.foreign, pair.language, found))
    for row in afriqa:
        if split.repeats_development(row["passage"]) or split.repeats_development(row["q_en"]):
            continue
        if row["passage"] not in where:
            where[row["passage"]] = len(passages)
            title = row["title"] or ""
            passages.append(Passage(title, row["passage"], title or row["passage"]))
        asked.append(Asked(row["q"], row["lang"], where[row["passage"]]))
        asked.append(Asked(row["q_en"], "en", where[row["passage"]]))
    return Corpus(pairs, passages, asked)


@dataclass(frozen=True)
class Development:
    """XQuAD articles 17-24: what the encoder is judged by.

    Attributes:
        passages: all 120 English paragraphs of articles 1-24, the pool.
        questions: language to (question, index of its passage), articles 17-24 only.
        more_passages: 120 English passages of AfriQA, which make the pool harder.
        afriqa: language to (question, index into ``afriqa_passages``), AfriQA's dev split;
            empty unless they were held out of the training.
        afriqa_passages: the passages of AfriQA's train and dev splits.
    """

    passages: list[str]
    questions: dict[str, list[tuple[str, int]]]
    more_passages: list[str]
    afriqa: dict[str, list[tuple[str, int]]]
    afriqa_passages: list[str]


def load_development(data: Path, *, hold_out_afriqa: bool = False) -> Development:
    """Read the questions and pools that figures are computed on."""
    split = XquadSplit(data)
    afriqa: dict[str, list[tuple[str, int]]] = {}
    where: dict[str, int] = {}
    for row in _json_lines(data / "parallel" / _AFRIQA / "gold_passages.jsonl"):
        index = where.setdefault(row["passage"], len(where))
        if hold_out_afriqa and row["split"] == "dev":
            afriqa.setdefault(row["lang"], []).append((row["q"], index))
    texts = list(where)
    step = max(1, len(texts) // 120)
    return Development(
        passages=split.passages,
        questions=split.development_questions,
        more_passages=texts[::step][:120],
        afriqa=afriqa,
        afriqa_passages=texts,
    )


class XquadSplit:
    """Which texts of ``xquad_first24`` belong to articles 1-16 and which to 17-24."""

    def __init__(self, data: Path) -> None:
        articles = json.loads((data / "xquad-r-dev/en.json").read_text())["data"]
        article_of = {
            _squeeze(paragraph["context"]): (number, article["title"].replace("_", " "))
            for number, article in enumerate(articles, start=1)
            for paragraph in article["paragraphs"]
        }
        folder = data / "parallel" / _XQUAD
        rows = sorted(_json_lines(folder / "passages_en.jsonl"), key=lambda row: row["pid"])
        if [row["pid"] for row in rows] != list(range(len(rows))):
            raise ValueError(f"{folder}: passages_en.jsonl is not numbered from 0")
        self.passages = [str(row["text"]) for row in rows]
        # A KeyError here means that the two files are not of one dataset: nothing may be guessed.
        number = [article_of[_squeeze(text)] for text in self.passages]
        trained = [article <= TRAINED_ARTICLES for article, _ in number]
        places = [index for index, yes in enumerate(trained) if yes]
        self.train_passages = [(number[i][1], self.passages[i]) for i in places]
        self.train_questions: list[tuple[str, str, int]] = []
        self.development_questions: dict[str, list[tuple[str, int]]] = {}
        english: dict[bool, set[str]] = {True: set(), False: set()}
        new_place = {old: new for new, old in enumerate(places)}
        for row in _json_lines(folder / "questions.jsonl"):
            text, language, pid = row["q"], row["lang"], row["pid"]
            if language == "en":
                english[trained[pid]].add(_squeeze(text))
            if trained[pid]:
                self.train_questions.append((text, language, new_place[pid]))
            else:
                self.development_questions.setdefault(language, []).append((text, pid))
        self._train_english = english[True] - english[False]
        self._development_english = english[False]
        self._train_text = "\n".join(_squeeze(text) for _, text in self.train_passages)
        held_out = [text for text, yes in zip(self.passages, trained, strict=True) if not yes]
        self._shingles = {run for text in held_out for run in _shingles(text)}
        self._shingles.difference_update(
            run for _, text in self.train_passages for run in _shingles(text)
        )

    def may_train(self, english: str, kind: str) -> bool:
        """Whether the English side of a line of ``xquad_first24`` is of articles 1-16."""
        if kind == "q":
            return _squeeze(english) in self._train_english
        return _squeeze(english) in self._train_text

    def repeats_development(self, english: str) -> bool:
        """Whether a text repeats a development question or part of a development passage."""
        if _squeeze(english) in self._development_english:
            return True
        return any(run in self._shingles for run in _shingles(english))


def describe(corpus: Corpus) -> str:
    """A line on how much of what there is."""
    kinds = Counter(pair.kind for pair in corpus.pairs)
    parts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return (
        f"{len(corpus.pairs):,} pairs ({parts}), {len(corpus.passages):,} passages, "
        f"{len(corpus.asked):,} questions and sentences that lead to one"
    )


def _shingles(text: str) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return zip(*(words[start:] for start in range(_SHINGLE)), strict=False)


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    with path.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            english, foreign, kind = line.rstrip("\n").split("\t")
            if english.strip() and foreign.strip():
                yield english, foreign, kind


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
