"""The free control: a passage's own sentences in the place of generated queries.

What a summed vector gains by its own sentences is no gain by queries in the user's language; a
generator has to do better than this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.queries.source import Gathering, Source, Written, written
from xqg_qdrant.records import GeneratedQuery, Passage

WINDOW = 1_024


def split_sentences(text: str, lang: str | None = None) -> list[str]:
    """Split a text into sentences, by *sentencex*'s rules for about 300 languages.

    Args:
        text: of any script.
        lang: its language; the rules of English, which know the marks of all scripts, when None.
    """
    from sentencex import segment

    return [stripped for part in segment(lang or "en", text) if (stripped := part.strip())]


def sentence_queries(
    passage: Passage, sentences: Iterable[str], lang: str | None = None
) -> list[GeneratedQuery]:
    """Sentences of a passage as its queries.

    Args:
        passage: the passage.
        sentences: of it.
        lang: the language that they are put under; the passage's own when None.

    Raises:
        InputError: nothing says the language.
    """
    label = lang or passage.lang
    if label is None:
        raise InputError(
            f"passage {passage.id!r} has no 'lang', so nothing says the language of its "
            "sentences: give it one, or give --languages with one code"
        )
    return [GeneratedQuery(passage.id, label, sentence) for sentence in sentences]


class SentenceSource(Source):
    """Each passage's own sentences.

    Args:
        lang: the language that sentences are put under; each passage's own when None.
        per_passage: the first so many; all when None.

    Raises:
        InputError: the language is unknown, or the number is not positive.
    """

    kind = "sentences"
    name = "sentences"
    window = WINDOW

    def __init__(self, *, lang: str | None = None, per_passage: int | None = None) -> None:
        if per_passage is not None and per_passage < 1:
            raise InputError(f"{per_passage} sentences a passage: give a positive number")
        self._lang = None if lang is None else normalize_language(lang)
        self._per_passage = per_passage
        self.configuration = {"language": self._lang, "per_language": per_passage}

    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """The sentences of each passage, each text once."""
        for passage in passages:
            queries = sentence_queries(
                passage, split_sentences(passage.text, passage.lang), self._lang
            )
            lang = queries[0].lang if queries else ""
            gathering = Gathering(passage.id, lang, None)
            for query in queries:
                if self._per_passage is not None and len(gathering.queries) == self._per_passage:
                    break
                gathering.offer(query.text)
            yield written([gathering])

    def versions(self) -> dict[str, str]:
        """Of the library that splits."""
        from importlib.metadata import version

        return {"sentencex": version("sentencex")}
