"""Lexical evidence: a sparse BM25 vector of a passage and of its generated queries, in any script.

Terms are character n-grams within words (McNamee and Mayfield, "Character N-Gram Tokenization for
European Language Text Retrieval", Information Retrieval 7, 2004, found n = 4 best), single
characters and pairs of them in scripts without spaces between short words (Chinese, Japanese,
Korean), and, so that names are found across scripts, n-grams of each word's Metaphone code after
it was written in Latin letters: Коперник, κοπέρνικος and Copernicus share theirs.

A term stands in a *field*: the passage, or the queries of one language. The fields of a passage
share one sparse vector, told apart by the terms' hashes, so that a question is scored by the
passage and by the queries of its own language alone, or by the passage alone, from one index.
Weights are those of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009)
but for the idf, which the engine multiplies in as it searches (Qdrant's IDF modifier): it always
is that of the collection as it stands.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from xqg_qdrant.corpus.checks import check_whole
from xqg_qdrant.errors import InputError

SPARSE_VECTOR = "bm25"
"""The name of the sparse vector of a hybrid collection."""

PASSAGE = ""
"""The field of title and text; other fields are named by the language of their queries."""

QUERY_WEIGHT = 0.5
"""Of the queries' field against the passage's, measured: see ``docs/layouts.md``."""

_ANALYZER = "ngram-metaphone-1"
"""To be changed with anything that changes terms, :data:`QUERY_WEIGHT` aside."""

_SPACELESS = re.compile(
    "[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)
"""Kana, Han and Hangul: scripts whose words are one to three characters long."""

NGRAM = 4
_LONGEST_NGRAM = 256

_CODED_LETTERS = 4
_CODE_LETTERS = 3
"""Shorter words, and shorter codes, would be found everywhere."""


@dataclass(frozen=True, slots=True)
class LexicalSettings:
    """How the sparse vectors of a collection are made; a part of its manifest.

    Attributes:
        analyzer: which terms a text has; vectors of different analyzers cannot be compared.
        ngram: characters of an n-gram.
        k1: how soon a repeated term counts no more.
        b: how much long texts are held back, from 0 to 1.
    """

    analyzer: str = _ANALYZER
    ngram: int = NGRAM
    k1: float = 1.2
    b: float = 0.75

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LexicalSettings:
        """From a JSON object.

        Raises:
            AttributeError, TypeError, ValueError, InputError: it is not one.
        """
        if missing := {"analyzer", "ngram", "k1", "b"} - row.keys():
            raise ValueError(f"no field {min(missing)}")
        made = cls(**row)
        if not isinstance(made.analyzer, str):
            raise TypeError(f"analyzer is a {type(made.analyzer).__name__}")
        for name, most in (("k1", sys.float_info.max), ("b", 1.0)):
            value = getattr(made, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a {type(value).__name__}")
            if not 0.0 <= value <= most:
                raise ValueError(f"{name} is out of range")
        ngram = check_whole(made.ngram, "ngram", 1, _LONGEST_NGRAM)
        return cls(made.analyzer, ngram, float(made.k1), float(made.b))

    def require_known(self, collection: str) -> None:
        """Check that this release makes the terms that the collection was built with.

        Raises:
            InputError: it does not.
        """
        if self.analyzer != _ANALYZER:
            raise InputError(
                f"the lexical vectors of collection {collection!r} were made by analyzer "
                f"{self.analyzer!r:.60}, this release has {_ANALYZER!r}: search it without them "
                "(hybrid=False, --no-hybrid), or build it again"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """A sparse vector: uint32 indices, each once, and float32 values, (n,) both."""

    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def nbytes(self) -> int:
        """Of both arrays."""
        return self.indices.nbytes + self.values.nbytes

    def to_json(self) -> dict[str, Any]:
        """As Qdrant writes it: ``indices`` and ``values``."""
        return {"indices": self.indices.tolist(), "values": self.values.tolist()}


def words_of(text: str) -> list[str]:
    """The words of a text: Unicode NFKC, lower case, letters with their marks and digits."""
    return unicodedata.normalize("NFKC", text).lower().translate(_SEPARATORS).split()


def terms_of(word: str, ngram: int = NGRAM) -> list[str]:
    """The n-grams of a word as :func:`words_of` gives it, padded by blanks; repetitions stay."""
    terms: list[str] = []
    for part in _parts(word):
        if _SPACELESS.match(part):
            terms += part
            terms += [first + second for first, second in pairwise(part)]
        else:
            terms += _ngrams(part, ngram)
    return terms


def sound_terms_of(word: str, ngram: int = NGRAM) -> list[str]:
    """The n-grams of the word's Metaphone code, marked by ``~``; none of short words and numbers.

    Han characters have none: what they sound like is chance.
    """
    import jellyfish
    from anyascii import anyascii

    terms: list[str] = []
    for part in _parts(word):
        if _HAN.match(part):
            continue
        for latin in _LATIN.findall(_SIGNS.sub("", anyascii(part)).lower()):
            if len(latin) >= _CODED_LETTERS:
                code = jellyfish.metaphone(latin).replace(" ", "")
                if len(code) >= _CODE_LETTERS:
                    terms += [f"~{term}" for term in _ngrams(code.lower(), ngram)]
    return terms


class Lexical:
    """Makes the sparse vectors of a collection.

    Args:
        settings: of its manifest.
        lengths: the mean number of terms of a passage, by field; a field that is missing counts
            as being of one length throughout.
    """

    def __init__(self, settings: LexicalSettings, lengths: Mapping[str, float]) -> None:
        self.settings = settings
        self.lengths = dict(lengths)

    def passage_vector(
        self, text: str, queries: Sequence[str] = (), query_languages: Sequence[str] = ()
    ) -> SparseVector:
        """The vector of a passage: BM25's weight of every term, without the idf.

        Args:
            text: its title and text.
            queries: its generated queries.
            query_languages: the language of each.
        """
        parts = []
        for field, texts in _fields(text, queries, query_languages).items():
            found = list(chain.from_iterable(self._codes(field, each) for each in texts))
            codes, counts = np.unique(np.array(found, dtype=np.uint32), return_counts=True)
            relative = len(found) / self.lengths.get(field, len(found)) if found else 1.0
            k1, b = self.settings.k1, self.settings.b
            damping = k1 * (1.0 - b + b * relative)
            parts.append((codes, counts * (k1 + 1.0) / (counts + damping)))
        return _summed(parts)

    def question_vector(self, text: str, languages: Mapping[str, float]) -> SparseVector:
        """The vector of a question: what it asks for, each term once.

        Args:
            text: the question.
            languages: whose queries it is compared with, beside the passage, and their weights.
        """
        fields = [(PASSAGE, 1.0)]
        fields += [(language, QUERY_WEIGHT * weight) for language, weight in languages.items()]
        parts = []
        for field, weight in fields:
            codes = np.unique(np.fromiter(self._codes(field, text), dtype=np.uint32))
            parts.append((codes, np.full(len(codes), weight)))
        return _summed(parts)

    def _codes(self, field: str, text: str) -> Iterable[int]:
        for word in words_of(text):
            yield from _codes(field, word, self.settings.ngram)


def count_terms(
    settings: LexicalSettings,
    text: str,
    queries: Sequence[str] = (),
    query_languages: Sequence[str] = (),
) -> dict[str, int]:
    """How many terms a passage has, by field; see :meth:`Lexical.passage_vector`."""
    return {
        field: sum(
            len(_codes(field, word, settings.ngram)) for each in texts for word in words_of(each)
        )
        for field, texts in _fields(text, queries, query_languages).items()
    }


def _fields(
    text: str, queries: Sequence[str], query_languages: Sequence[str]
) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {PASSAGE: [text]}
    for query, language in zip(queries, query_languages, strict=True):
        fields.setdefault(language, []).append(query)
    return fields


@lru_cache(maxsize=2**17)
def _codes(field: str, word: str, ngram: int) -> tuple[int, ...]:
    """The terms of a word in a field, hashed. Two that meet by chance, one in 2**32, are one."""
    terms = terms_of(word, ngram)
    if field == PASSAGE:  # questions and queries of one language share their script
        terms += sound_terms_of(word, ngram)
    return tuple(crc32(f"{field}\0{term}".encode()) for term in terms)


def _summed(
    parts: Sequence[tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]],
) -> SparseVector:
    """One vector of the fields' terms; hashes that meet are summed, indices are unique."""
    indices, places = np.unique(np.concatenate([codes for codes, _ in parts]), return_inverse=True)
    values = np.bincount(places, np.concatenate([values for _, values in parts]), len(indices))
    return SparseVector(indices, values.astype(np.float32))


def _ngrams(word: str, n: int) -> list[str]:
    padded = f" {word} "
    return [padded[at : at + n] for at in range(max(1, len(padded) - n + 1))]


def _parts(word: str) -> list[str]:
    """A word cut where scripts without spaces meet others."""
    if word.isascii():
        return [word]
    parts, at = [], 0
    for match in _SPACELESS.finditer(word):
        parts += [word[at : match.start()], match[0]]
        at = match.end()
    return [part for part in [*parts, word[at:]] if part]


class _Separators(dict[int, str]):
    """Keeps letters, marks and digits, drops what is invisible, and blanks out the rest."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        kept = chr(code) if category[0] in "LMN" else "" if category == "Cf" else " "
        self[code] = kept
        return kept


_SEPARATORS = _Separators()
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile("[a-z]+")
_SIGNS = re.compile("['`\"]")
