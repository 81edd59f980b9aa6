"""Sentences in two languages: English ones, some of whose words a lexicon replaced.

A lexicon lists many more words than translated sentences hold. Put into an English sentence, whose
teacher vector is known, such a word is learnt with words around it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.corpus import Corpus
from training.wordpieces import around

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WORD = re.compile(r"\w+|[^\w\s]")
_ENDINGS = ("s", "es", "ed", "d", "ing")
_LONGEST_ENTRY = 3
_REPLACED = 0.7
_FEWEST_WORDS = 4


class CodeSwitcher:
    """Draws English texts and writes them half in another language.

    Args:
        corpus: lexicons and texts.
        tokenizer: cuts what was written.
        longest: tokens of a text that count.
        weight: how often each English text of the pairs is drawn, in their order.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, longest: int, weight: NDArray[np.float64]
    ) -> None:
        self._tokenizer = tokenizer
        self._longest = longest
        self._english = list(dict.fromkeys(pair.english for pair in corpus.pairs))
        lexicons: dict[str, dict[str, list[str]]] = {}
        for pair in corpus.pairs:
            entry = pair.english.lower().removeprefix("to ")
            if pair.kind in "wn" and len(entry.split()) <= _LONGEST_ENTRY:
                lexicons.setdefault(pair.language, {}).setdefault(entry, []).append(pair.foreign)
        self._lexicons = [lexicons[language] for language in sorted(lexicons)]
        running = [len(text.split()) >= _FEWEST_WORDS for text in self._english]
        self._upto = np.cumsum(weight * np.array(running))

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[list[list[int]], NDArray[np.int64]]:
        """Token ids of texts, and the rows of the English texts that they were made from."""
        rows = np.searchsorted(self._upto, rng.random(count) * self._upto[-1])
        rows = rows.clip(max=len(self._upto) - 1)
        texts = [self._switched(self._english[row], rng) for row in rows]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [around(each.ids, self._longest) for each in encodings], rows

    def _switched(self, text: str, rng: np.random.Generator) -> str:
        lexicon = self._lexicons[rng.integers(len(self._lexicons))]
        words = _WORD.findall(text)
        out: list[str] = []
        at = 0
        while at < len(words):
            for width in range(_LONGEST_ENTRY, 0, -1):
                found = _look_up(lexicon, words[at : at + width])
                if found and rng.random() < _REPLACED:
                    out.append(found[rng.integers(len(found))])
                    at += width
                    break
            else:
                out.append(words[at])
                at += 1
        return " ".join(out)


def _look_up(lexicon: dict[str, list[str]], words: list[str]) -> list[str] | None:
    """Translations of a phrase; of a word also without the commonest endings."""
    phrase = " ".join(words).lower()
    if phrase in lexicon or len(words) > 1:
        return lexicon.get(phrase)
    stems = (phrase.removesuffix(ending) for ending in _ENDINGS if phrase.endswith(ending))
    return next((lexicon[stem] for stem in stems if stem in lexicon), None)
