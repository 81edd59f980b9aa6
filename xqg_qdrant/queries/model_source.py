"""Queries that a generator of ours writes: an ONNX model folder, on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.queries.prompts import Template
from xqg_qdrant.queries.source import Gathering, Source, Written, written
from xqg_qdrant.records import Passage

if TYPE_CHECKING:
    from xqg_qdrant.models.generator import Generator

PER_LANGUAGE = 5
"""Queries of a passage in a language, as in the paper."""

BATCH_SIZE = 16
"""Prompts that the model takes at a time."""

ROUNDS = 3
"""How often further texts are drawn in the place of those that were dropped."""

_WINDOW_PROMPTS = 256
"""Prompts that are sorted by length and batched together."""

CUT = "queries cut at the greatest length"


class _Slot(NamedTuple):
    """A passage and a language, with what was drawn for them."""

    passage: Passage
    lang: str
    gathering: Gathering
    drawn: list[int]


class ModelSource(Source):
    """A generator's queries: deterministic for a seed, whatever is batched together.

    Attributes:
        languages: that it writes in.
        untrained: those of them that the generator's manifest does not name.

    Args:
        generator: writes them.
        languages: that it writes in; those that it was trained on when empty.
        per_language: queries of a passage in each language.
        decoding: how texts are drawn.
        prompt: in the place of the generator's own; ``{language}``, ``{title}``, ``{passage}``.
        batch_size: prompts that the model takes at a time; changes nothing but speed and memory.

    Raises:
        InputError: an argument is wrong.
    """

    kind = "model"
    whole_windows = True

    def __init__(
        self,
        generator: Generator,
        *,
        languages: Sequence[str] = (),
        per_language: int = PER_LANGUAGE,
        decoding: Decoding | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        decoding = decoding or Decoding()
        manifest = generator.manifest
        self.languages = parse_languages(languages) or tuple(manifest.languages)
        if not self.languages:
            raise InputError(f"{manifest.name} does not say its languages: give --languages")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: give a positive number")
        if per_language < 1:
            raise InputError(f"per_language is {per_language}: give a positive number")
        _check_number(decoding, per_language)
        template = Template(manifest.prompt if prompt is None else prompt)
        template.check_languages(self.languages)
        known = manifest.languages
        self.untrained = tuple(lang for lang in self.languages if known and lang not in known)
        self.name = manifest.name
        self.window = max(1, _WINDOW_PROMPTS // len(self.languages))
        self.configuration = {
            "model": manifest.name,
            "model_fingerprint": manifest.fingerprint,
            "prompt": template.text,
            "languages": list(self.languages),
            "per_language": per_language,
            **decoding.to_json(),
        }
        self._generator = generator
        self._per_language = per_language
        self._decoding = decoding
        self._prompt = template.text
        self._batch_size = batch_size

    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """Draw the queries of all passages in all languages together."""
        slots = [
            _Slot(passage, lang, Gathering(passage.id, lang, self._per_language), [0])
            for passage in passages
            for lang in self.languages
        ]
        for number in range(1 + (ROUNDS if self._decoding.method == "sample" else 0)):
            # Numbers of sequences go on, and hang on the slot alone: so do the texts.
            alike: defaultdict[tuple[int, int], list[_Slot]] = defaultdict(list)
            for slot in slots:
                if slot.gathering.short:
                    alike[slot.drawn[0], slot.gathering.short].append(slot)
            for (drawn, count), group in sorted(alike.items()):
                self._draw(group, count=count, first=drawn, replacing=number > 0)
        each = len(self.languages)
        for start in range(0, len(slots), each):
            yield written([slot.gathering for slot in slots[start : start + each]])

    def versions(self) -> dict[str, str]:
        """Of the libraries that the numbers come from."""
        from importlib.metadata import version

        return {name: version(name) for name in ("onnxruntime", "tokenizers", "numpy")}

    def _draw(self, slots: Sequence[_Slot], *, count: int, first: int, replacing: bool) -> None:
        from xqg_qdrant.models.generator import Prompt

        prompts = [
            Prompt(
                self._generator.prompt_for(slot.passage, slot.lang, template=self._prompt),
                f"{slot.passage.id}\x00{slot.lang}",
            )
            for slot in slots
        ]
        drawn = self._generator.generate(
            prompts,
            count=count,
            decoding=self._decoding,
            first=first,
            batch_size=self._batch_size,
        )
        for slot, texts in zip(slots, drawn, strict=True):
            slot.drawn[0] += count
            for each in texts:
                taken = slot.gathering.offer(each.text, each.score, replacing=replacing)
                if taken and not each.finished:
                    slot.gathering.other[CUT] += 1


def _check_number(decoding: Decoding, per_language: int) -> None:
    if decoding.method == "greedy" and per_language > 1:
        raise InputError(
            f"greedy decoding writes one query a passage and language, not {per_language}: give "
            "--per-language 1, or another --method"
        )
    if decoding.method == "beam" and per_language > decoding.beams:
        raise InputError(
            f"a beam search of {decoding.beams} beams cannot write {per_language} queries: give "
            "more --beams, or a smaller --per-language"
        )
