"""Language codes and language detection.

One spelling everywhere: the primary subtag of the BCP 47 tag, in its shortest ISO 639 form
(``hau`` is ``ha``, ``zh-Hant-TW`` is ``zh``), as registered at IANA and known to *langcodes*.
Detection is *py3langid*'s naive Bayes over byte n-grams, restricted to the languages asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from xqg_qdrant.errors import InputError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LONGEST_CODE = 1_000


def normalize_language(code: str) -> str:
    """Return the one spelling of a language code.

    Args:
        code: a BCP 47 or ISO 639 code: ``"sw"``, ``"swa"``, ``"zh-Hant"``, ``"pt_BR"``.

    Raises:
        InputError: the code names no registered language.
    """
    if not isinstance(code, str):
        raise InputError(f"a language code must be a string, not a {type(code).__name__}")
    if len(code) > _LONGEST_CODE:
        raise InputError(f"a language code of {len(code):,} characters: give one such as 'sw'")
    return _normalize(code)


@lru_cache(maxsize=4096)
def _normalize(code: str) -> str:
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    fix = "give an ISO 639 code such as 'en', 'sw' or 'zh'"
    try:
        if not langcodes.tag_is_valid(code):
            raise InputError(f"unknown language code {code!r}: {fix}")
        language = langcodes.Language.get(code).language
    except LanguageTagError as error:
        raise InputError(f"unknown language code {code!r}: {fix}") from error
    if language is None:
        raise InputError(f"language code {code!r} names no language: {fix}")
    return language


def parse_languages(codes: str | Iterable[str]) -> tuple[str, ...]:
    """Normalise a list of codes, or a comma-separated string of them, keeping the first of equals.

    Raises:
        InputError: a code is unknown.
    """
    try:
        parts = codes.split(",") if isinstance(codes, str) else list(codes)
    except TypeError:
        raise InputError(f"languages is a {type(codes).__name__}: give a list of codes") from None
    stripped = [part.strip() if isinstance(part, str) else part for part in parts]
    return tuple(dict.fromkeys(normalize_language(part) for part in stripped if part != ""))


_NAMES = {
    "el": "Greek",
    "ht": "Haitian Creole",
    "ky": "Kyrgyz",
    "li": "Limburgish",
    "or": "Odia",
    "pa": "Punjabi",
    "ps": "Pashto",
    "ug": "Uyghur",
}
"""Names that generators know a language by, where the registry's first is another."""


def language_name(code: str) -> str:
    """Return the English name of a language, as prompts say it: ``"Bengali"`` of ``"bn"``.

    Args:
        code: in the spelling that :func:`normalize_language` gives.

    Raises:
        InputError: the code names no registered language.
    """
    try:
        return _NAMES.get(code) or _registered_names()[code]
    except KeyError:
        raise InputError(f"language code {code!r} has no name in the registry of IANA") from None


@lru_cache(maxsize=1)
def _registered_names() -> dict[str, str]:
    from langcodes.registry_parser import parse_registry

    return {
        # "Swahili (macrolanguage)", "Modern Greek (1453-)"
        row["Subtag"]: row["Description"][0].partition(" (")[0]
        for row in parse_registry()  # type: ignore[no-untyped-call]
        if row["Type"] == "language"
    }


class LanguageDetector:
    """Detects which of a few languages a short text is in.

    Restricting the choice to the languages at hand is what makes detection of questions usable:
    a question of five words is often ambiguous among a hundred languages and rarely among ten.

    Args:
        languages: the codes to choose among. Codes the detector has no model of are set aside in
            ``undetectable``: questions in those languages need their language named.
    """

    def __init__(self, languages: Iterable[str]) -> None:
        wanted = parse_languages(languages)
        identifier = _identifier()
        # The detector's own spelling of some codes is another one: tl for fil, kik for ki.
        labels = {normalize_language(label): label for label in identifier.labels}
        self.languages = tuple(lang for lang in wanted if lang in labels)
        self.undetectable = tuple(lang for lang in wanted if lang not in labels)
        if self.languages:
            identifier.set_languages([labels[lang] for lang in self.languages])
        self._identifier = identifier

    def detect(self, text: str) -> str | None:
        """Return the likeliest of ``languages``, or None where there is none to choose from."""
        if not self.languages:
            return None
        if len(self.languages) == 1:
            return self.languages[0]
        return normalize_language(self._identifier.classify(text)[0])


@lru_cache(maxsize=1)
def _loaded_identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _identifier() -> LanguageIdentifier:
    """A copy to restrict: ``set_languages`` rebinds the copy's tables and leaves the original's."""
    return copy.copy(_loaded_identifier())
