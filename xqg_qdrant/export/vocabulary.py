"""Which tokens of a vocabulary to keep: those of the languages' scripts, or those of a corpus.

Scripts are told by the Unicode property Script (https://unicode.org/reports/tr24/), languages'
scripts by CLDR's likely subtags (https://unicode.org/reports/tr35/#Likely_Subtags).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_qdrant.corpus.checks import check_text
from xqg_qdrant.corpus.jsonl import MAX_LINE_BYTES, open_binary, read_rows
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.languages import normalize_language

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PASSAGE_LANGUAGE = "en"
"""Passages and prompts are in English: its tokens stay whatever the languages of the queries."""

MAIN_SHARE = 0.1
"""A script is a corpus's own when it makes this share of the letters of one of its texts: a name
in another script, quoted in a passage, does not bring in all the characters of that script."""

_WINDOW = 1_024
"""Texts tokenised at a time."""

_JSONL_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")

_PARTS = {
    "Aran": ("Arab",),
    "Cyrs": ("Cyrl",),
    "Hanb": ("Hani", "Bopo"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hrkt": ("Hira", "Kana"),
    "Jamo": ("Hang",),
    "Jpan": ("Hira", "Kana", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Latf": ("Latn",),
    "Latg": ("Latn",),
    "Syre": ("Syrc",),
    "Syrj": ("Syrc",),
    "Syrn": ("Syrc",),
}
"""ISO 15924 codes that no character has as its Script property, and the scripts that they mean."""

# fmt: off
_SCRIPTS = (
    "Adlm", "Arab", "Armn", "Bali", "Beng", "Bopo", "Cans", "Cher", "Copt", "Cyrl", "Deva",
    "Ethi", "Geor", "Goth", "Grek", "Gujr", "Guru", "Hang", "Hani", "Hebr", "Hira", "Java",
    "Kana", "Khmr", "Knda", "Laoo", "Latn", "Lisu", "Mlym", "Mong", "Mtei", "Mymr", "Nkoo",
    "Olck", "Orya", "Rohg", "Runr", "Sinh", "Sund", "Syrc", "Taml", "Telu", "Tfng", "Thaa",
    "Thai", "Tibt", "Vaii", "Yiii",
)
# fmt: on
"""Scripts that a corpus may be in; characters of others are kept where they occur."""


@dataclass(frozen=True, slots=True)
class TrimOption:
    """What ``--trim-vocab`` says; see :func:`parse_trim_option`.

    Attributes:
        languages: BCP 47 tags whose scripts' tokens are kept.
        corpora: files whose tokens are kept.
    """

    languages: tuple[str, ...]
    corpora: tuple[Path, ...]

    def __str__(self) -> str:
        """Languages and names of files, as a manifest has them: paths are the user's own."""
        return ",".join((*self.languages, *(path.name for path in self.corpora)))


class CorpusText(NamedTuple):
    """A text of a corpus, and its language where the corpus tells."""

    text: str
    lang: str | None


def parse_trim_option(value: str) -> TrimOption:
    """Tell languages from files in a comma-separated list: ``sw,ar`` or ``passages.jsonl,sw``.

    A tag may name its script (``pa-Arab``). What is a language code is taken for one; a file of
    the same name is given as ``./sw``.

    Raises:
        InputError: a part is neither a language nor a file, or there is none.
    """
    languages: dict[str, None] = {}
    corpora: dict[Path, None] = {}
    for part in (each.strip() for each in value.split(",")):
        if not part:
            continue
        try:
            normalize_language(part)
        except InputError:
            path = Path(part)
            if path.is_dir():
                raise InputError(f"{part} is a folder: give a file of texts") from None
            if not path.is_file():
                raise InputError(
                    f"{part!r} is neither a language code nor a file: give codes such as 'sw,ar', "
                    "or files of passages, queries (.jsonl) or plain text"
                ) from None
            corpora[path] = None
        else:
            languages[part] = None
    if not languages and not corpora:
        raise InputError("no languages and no corpus to trim to: give 'sw,ar' or a file of texts")
    return TrimOption(tuple(languages), tuple(corpora))


def select_tokens(
    tokenizer: Tokenizer, option: TrimOption, *, always: Iterable[str] = ()
) -> set[int]:
    """Collect the tokens that an option asks to keep.

    With languages, the tokens of English stay too. With corpora alone they stay where no text of
    the corpora is English; plain text is taken to hold all that the model reads and writes.

    Args:
        tokenizer: the model's.
        option: what to keep.
        always: texts that the model reads whatever the corpus, such as its prompts and prefixes.

    Raises:
        InputError: a language or a corpus is wrong.
        ModelError: this kind of tokenizer cannot be trimmed.
    """
    check_trimmable(tokenizer)
    languages = option.languages
    found: set[str | None] = set()

    def texts() -> Iterator[str]:
        for path in option.corpora:
            for text, lang in read_texts(path):
                found.add(lang)
                yield text

    keep = tokens_in_corpus(tokenizer, texts()) if option.corpora else set()
    if languages or not {None, PASSAGE_LANGUAGE} & found:
        keep |= tokens_for_languages(tokenizer, (*languages, PASSAGE_LANGUAGE))
    return keep | _used(tokenizer, always)


def tokens_for_languages(tokenizer: Tokenizer, languages: Iterable[str]) -> set[int]:
    """Collect the tokens whose characters all are of the scripts that languages are written in.

    Digits, punctuation and combining marks (Script Common and Inherited) go with every script.
    Languages of one script share their tokens: for Swahili all Latin ones are kept.

    Args:
        tokenizer: Unigram or WordPiece.
        languages: BCP 47 tags; the script is the tag's own, else the likeliest of the language.

    Raises:
        InputError: a tag is unknown.
        ModelError: this kind of tokenizer cannot be trimmed.
    """
    import regex

    check_trimmable(tokenizer)
    scripts = sorted({script for tag in languages for script in scripts_of(tag)})
    if not scripts:
        raise InputError("no languages to keep tokens of: give at least one")
    allowed = "".join(rf"\p{{sc={script}}}" for script in (*scripts, "Zyyy", "Zinh"))
    fits = regex.compile(f"[{allowed}]+").fullmatch
    return {number for token, number in tokenizer.get_vocab().items() if fits(token)}


def tokens_in_corpus(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """Collect the tokens that texts are made of, and those that spell any text of their scripts.

    Beside the tokens that occur, the single characters of the corpus's scripts (``MAIN_SHARE``)
    and those common to all scripts are kept, so that a word that did not occur is spelled.

    Args:
        tokenizer: Unigram or WordPiece.
        texts: a list or a stream, read once.

    Raises:
        InputError: there are no texts.
        ModelError: this kind of tokenizer cannot be trimmed.
    """
    check_trimmable(tokenizer)
    scripts: set[str | None] = set()

    def noted() -> Iterator[str]:
        for text in texts:
            counts: Counter[str] = Counter()
            for char, times in Counter(text).items():
                if (script := _script(char)) not in (None, "Zyyy"):
                    counts[script] += times
            letters = counts.total()
            scripts.update(
                each for each, number in counts.items() if number >= MAIN_SHARE * letters
            )
            yield text

    keep = _used(tokenizer, noted())
    if not keep:
        raise InputError("the corpus holds no texts: there are no tokens to keep")
    scripts.add("Zyyy")
    prefix = _word_prefix(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        bare = token if len(token) == 1 else token.removeprefix(prefix)
        if len(bare) == 1 and _script(bare) in scripts:
            keep.add(number)
    return keep


def read_texts(path: Path) -> Iterator[CorpusText]:
    """Stream the texts of passages, queries or questions (``.jsonl``), or lines of plain text.

    A passage is read as it is encoded, title first; without a language it is English. Either
    kind may be gzipped (``.gz``). Blank lines are skipped.

    Raises:
        InputError: the file cannot be read, or a line is no text; it names file and line.
    """
    if path.name.endswith(_JSONL_ENDINGS):
        for _, found in read_rows(path, _row_text):
            yield found
        return
    with open_binary(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 (byte {error.start + 1}): "
                    "convert the file to UTF-8"
                ) from None
            if text:
                yield CorpusText(text, None)


def scripts_of(tag: str) -> tuple[str, ...]:
    """Name the scripts of a language as Unicode's Script property has them: ``Hira``, ``Latn``.

    Raises:
        InputError: the tag is unknown.
    """
    import langcodes
    import regex

    normalize_language(tag)
    script = langcodes.Language.get(tag).maximize().script or ""
    parts = _PARTS.get(script, (script,))
    try:
        for part in parts:
            regex.compile(rf"\p{{sc={part}}}")
    except regex.error:
        raise InputError(
            f"language {tag!r} is written in {script or 'no script'}, which has no characters in "
            f"Unicode: name its script, such as '{tag}-Latn'"
        ) from None
    return parts


def check_trimmable(tokenizer: Tokenizer) -> None:
    """Check that tokens can be left out of a tokenizer without changing how others come about.

    Raises:
        ModelError: it is neither Unigram nor WordPiece.
    """
    _word_prefix(tokenizer)


def _word_prefix(tokenizer: Tokenizer) -> str:
    """What marks where in a word a piece stands."""
    from tokenizers import models

    model: Any = tokenizer.model
    if isinstance(model, models.Unigram):
        return "▁"
    if isinstance(model, models.WordPiece):
        return str(model.continuing_subword_prefix)
    raise ModelError(
        f"a {type(model).__name__} vocabulary cannot be trimmed: only Unigram (mT5, XLM-R) and "
        "WordPiece (BERT) can; export it without --trim-vocab"
    )


def _used(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """The tokens that texts are made of, whole texts, without those that frame them."""
    from tokenizers import Tokenizer

    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    used: set[int] = set()
    stream = iter(texts)
    while window := list(itertools.islice(stream, _WINDOW)):
        for encoding in whole.encode_batch_fast(window, add_special_tokens=False):
            used.update(encoding.ids)
    return used


def _row_text(row: dict[str, Any]) -> CorpusText:
    text = check_text(row.get("text"), "text")
    if title := row.get("title"):
        text = f"{check_text(title, 'title')} {text}"
    lang = row.get("lang")
    if lang is None:
        return CorpusText(text, None if "passage_id" in row else PASSAGE_LANGUAGE)
    if not isinstance(lang, str):
        raise InputError(f"lang is a {type(lang).__name__}: give a language code")
    return CorpusText(text, normalize_language(lang))


@lru_cache(maxsize=65_536)
def _script(char: str) -> str | None:
    """The script of a character, ``Zyyy`` for those common to all, None for one of no corpus."""
    found = _scripts()(char)
    return found.lastgroup if found else None


@lru_cache(maxsize=1)
def _scripts() -> Callable[[str], Any]:
    import regex

    groups = [rf"(?P<{script}>\p{{sc={script}}})" for script in _SCRIPTS]
    common = r"(?P<Zyyy>[\p{sc=Zyyy}\p{sc=Zinh}])"
    match: Callable[[str], Any] = regex.compile("|".join([*groups, common])).match
    return match
