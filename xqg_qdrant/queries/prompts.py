"""Prompts: templates with ``{language}``, ``{title}``, ``{passage}`` and, for some, ``{count}``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import language_name
from xqg_qdrant.records import Passage

FIELDS = ("language", "title", "passage")
COUNT = "count"

_FIELD = re.compile(r"\{([a-z_]+)\}")


class Template:
    """A prompt with fields to fill in.

    Args:
        text: with ``{language}`` (its English name), ``{title}`` and ``{passage}``; other braces
            are left as they are.
        fields: that may be in it.

    Raises:
        InputError: another field is in it, or ``{passage}`` is not.
    """

    def __init__(self, text: str, fields: Sequence[str] = FIELDS) -> None:
        self.text = text
        found = set(_FIELD.findall(text))
        unknown = sorted(found.difference(fields))
        if unknown:
            raise InputError(
                f"prompt {_short(text)}: unknown field {{{unknown[0]}}}: the fields are "
                f"{', '.join(f'{{{field}}}' for field in fields)}"
            )
        if "passage" not in found:
            raise InputError(
                f"prompt {_short(text)} has no {{passage}}, and is no file: give a file, or a "
                "text with {passage} in it"
            )
        self.names_language = "language" in found

    def check_languages(self, languages: Sequence[str]) -> None:
        """Check that the languages can be told apart, and have names.

        Raises:
            InputError: they cannot.
        """
        if len(languages) > 1 and not self.names_language:
            raise InputError(
                f"prompt {_short(self.text)} has no {{language}}, so queries of "
                f"{', '.join(languages)} would be the same: put it in, or give one language"
            )
        if self.names_language:
            for lang in languages:
                language_name(lang)

    def fill(self, passage: Passage, lang: str, *, count: int = 1) -> str:
        """The prompt for a passage and a language."""
        values = {
            "language": language_name(lang) if self.names_language else "",
            "title": passage.title,
            "passage": passage.text,
            "count": str(count),
        }
        # In one go, and not by str.format: passages and templates may hold braces of their own.
        return _FIELD.sub(lambda match: values[match[1]], self.text)


def read_prompt(text_or_file: str) -> str:
    """The text of a prompt that is given as it is, or as a file.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(text_or_file)
    try:
        if not path.is_file():
            return text_or_file
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1}): convert it") from None
    except OSError as error:
        if len(text_or_file) > 255 or "\n" in text_or_file:  # too long for a name
            return text_or_file
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL
        return text_or_file


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
