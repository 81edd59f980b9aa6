"""Generators: prompts to texts, on onnxruntime.

What makes it fast on a CPU, all of it in how the two graphs of a generator are cut (see
``xqg_qdrant/export/t5_graphs.py``): a prompt is encoded once for all its texts, which share its
cross-attention; keys and values of earlier positions lie in one place and are never copied; of the
quarter of a million logits only the best leave the graph; prompts of like length run together, and
texts that have ended make room.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.languages import language_name
from xqg_qdrant.models.decoder import Decoder, Encoded
from xqg_qdrant.models.decoding import MAX_TOP_K, Beams, Decoding, draws, sample
from xqg_qdrant.models.manifest import (
    DECODER_FILE,
    ENCODER_FILE,
    TOKENIZER_FILE,
    GeneratorManifest,
    find_model,
    read_generator_manifest,
)
from xqg_qdrant.models.session import check_threads, open_session, open_tokenizer, tokenizer_errors
from xqg_qdrant.records import Passage

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Tokenizer

    from xqg_qdrant.models.decoding import Hypothesis

BATCH_SIZE = 16
"""Prompts decoded at a time, each with all its texts."""

MAX_TEXTS = 256
"""Most texts of one prompt in one call."""

WIDTH = 32
"""Prompts are filled up to a multiple of so many tokens."""

_SHRINK_BELOW = 0.75
"""Share of the texts still being written, from which on the others are taken out of the batch."""

Ints = NDArray[np.int64]


_FIELD = re.compile(r"\{(language|title|passage)\}")


class Prompt(NamedTuple):
    """What a generator continues from.

    Attributes:
        text: the whole prompt.
        key: what its random numbers hang on, beside the seed and the number of the text.
    """

    text: str
    key: str


class Generated(NamedTuple):
    """A text that a generator wrote.

    Attributes:
        text: without special tokens; it may be empty.
        score: mean log-probability of its tokens, the closing one included, at temperature 1 and
            over the whole vocabulary.
        tokens: their number.
        finished: it ended by itself, before ``max_length``.
    """

    text: str
    score: float
    tokens: int
    finished: bool


class Generator:
    """Prompts to texts with a model folder; make one with :meth:`load`.

    Not to be shared between threads while it works.
    """

    def __init__(
        self,
        manifest: GeneratorManifest,
        encoder: onnxruntime.InferenceSession,
        decoder: Decoder,
        tokenizer: Tokenizer,
    ) -> None:
        self.manifest = manifest
        self._encoder = encoder
        self._decoder = decoder
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, name_or_folder: str | Path, *, threads: int | None = None) -> Generator:
        """Load a generator, checking every file against its hash.

        Args:
            name_or_folder: the name of a model under ``$XQG_MODELS``, or the path of a folder.
            threads: threads that it runs on; all cores when None.

        Raises:
            ModelError: the folder is missing, damaged, hostile or no generator.
            InputError: threads is not from 1 to 1024.
        """
        check_threads(threads)
        manifest = read_generator_manifest(find_model(name_or_folder))
        manifest.verify_files()
        encoder = open_session(
            manifest.folder / ENCODER_FILE,
            threads=threads,
            inputs=("input_ids", "attention_mask"),
            outputs=[f"cross_{part}_{n}" for n in range(manifest.layers) for part in _PARTS],
        )
        decoder = Decoder.load(manifest.folder / DECODER_FILE, manifest.layers, threads=threads)
        tokenizer = open_tokenizer(manifest.folder / TOKENIZER_FILE, max_length=manifest.max_length)
        return cls(manifest, encoder, decoder, tokenizer)

    @property
    def name(self) -> str:
        """The generator's name, as its manifest has it."""
        return self.manifest.name

    @property
    def fingerprint(self) -> str:
        """64 hex digits, equal for generators that write the same texts."""
        return self.manifest.fingerprint

    def __repr__(self) -> str:
        return f"Generator({self.name!r})"

    def prompt_for(self, passage: Passage, lang: str, *, template: str | None = None) -> str:
        """The prompt that asks for a query about a passage.

        Args:
            passage: what the query is to be about.
            lang: ISO 639 code of the query's language; it stands in the prompt by its English name.
            template: with ``{language}``, ``{title}`` and ``{passage}``; the model's own when None.
        """
        return fill_prompt(template or self.manifest.prompt, passage, lang)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        count: int,
        decoding: Decoding | None = None,
        first: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Generated]]:
        """Write some texts for each prompt.

        What is written for a prompt is the same for a seed whatever the batch size and whatever
        other prompts there are.

        Args:
            prompts: longer ones than the model takes are cut.
            count: texts a prompt; for ``beam`` at most its beams, and 1 for ``greedy``.
            decoding: how; sampling from the 50 best when None.
            first: number of the first text; texts of other numbers are other samples.
            batch_size: prompts decoded at a time, each with all its texts.

        Returns:
            ``count`` texts for each prompt, in the order of the prompts; of a beam search best
            first, and fewer where it found fewer.

        Raises:
            InputError: count or batch_size do not fit, or a prompt is empty.
            ModelError: the model fails.
        """
        decoding = decoding or Decoding()
        _check(count, batch_size, decoding)
        for number, prompt in enumerate(prompts):
            if not prompt.text.strip():
                raise InputError(f"prompt {number} is empty: there is nothing to go on from")
        with tokenizer_errors(f"{self.manifest.folder}: the tokenizer failed"):
            encoded_prompts = self._tokenizer.encode_batch_fast([p.text for p in prompts])
        ids = [each.ids for each in encoded_prompts]
        results: list[list[Generated]] = [[] for _ in prompts]
        for rows in _batches([_width(each) for each in ids], batch_size):
            encoded = self._encode([ids[row] for row in rows])
            if decoding.method == "beam":
                written = self._search(encoded, count, decoding)
            else:
                keys = [prompts[row].key for row in rows]
                written = self._draw(encoded, keys, count, decoding, first)
            for row, texts in zip(rows, written, strict=True):
                results[row] = texts
        return results

    def follow(
        self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[tuple[Ints, NDArray[np.float32]]]:
        """Be led along given texts, token for token, and say what it would have written itself.

        Args:
            prompts: token ids.
            texts: token ids of one text for each prompt.

        Returns:
            For each text and each of its places the likeliest token, int64 (tokens,), and the
            log-probability of the token that stands there, float32 (tokens,); minus infinity for
            one that is not among the ``MAX_TOP_K`` likeliest.
        """
        length = max(map(len, texts))
        table = np.full((len(texts), length), self.manifest.pad_token_id, dtype=np.int64)
        for row, text in enumerate(texts):
            table[row, : len(text)] = text
        run = self._decoder.start(
            self._encode(prompts), 1, start=self.manifest.decoder_start_token_id, length=length
        )
        best = np.zeros_like(table)
        likely = np.zeros(table.shape, dtype=np.float32)
        top_k = min(MAX_TOP_K, self.manifest.vocabulary_size)
        for position in range(length):
            probable, token_ids = run.step(top_k)
            best[:, position] = token_ids[:, 0]
            there = token_ids == table[:, position, None]
            likely[:, position] = np.where(there, probable, -np.inf).max(axis=1)
            run.tokens = table[:, position]
        return [
            (best[row, : len(text)], likely[row, : len(text)]) for row, text in enumerate(texts)
        ]

    def _encode(self, ids: Sequence[Sequence[int]]) -> Encoded:
        tokens = np.full(
            (len(ids), max(map(_width, ids))), self.manifest.pad_token_id, dtype=np.int64
        )
        mask = np.zeros_like(tokens)
        for number, row in enumerate(ids):
            tokens[number, : len(row)] = row
            mask[number, : len(row)] = 1
        names = [f"cross_{part}_{n}" for n in range(self.manifest.layers) for part in _PARTS]
        try:
            values = self._encoder.run(names, {"input_ids": tokens, "attention_mask": mask})
        except Exception as error:
            raise ModelError(f"{self.manifest.folder}: the encoder failed: {error}") from error
        return Encoded(mask, values)

    def _draw(
        self,
        encoded: Encoded,
        keys: Sequence[str],
        count: int,
        decoding: Decoding,
        first: int,
    ) -> list[list[Generated]]:
        """Sample, or take the best token: every text goes its own way."""
        greedy = decoding.method == "greedy"
        end, length = self.manifest.eos_token_id, decoding.max_length
        # The kernels sum otherwise for one text a prompt than for several, in the last digits.
        texts = 1 if greedy else max(count, 2)
        written = np.zeros((len(keys), texts, length), dtype=np.int64)
        sums = np.zeros((len(keys), texts))
        lengths = np.full((len(keys), texts), length, dtype=np.int64)
        ended = np.zeros((len(keys), texts), dtype=bool)
        ended[:, count:] = True
        chance = np.zeros((len(keys), texts, length))
        if not greedy:
            for row, key in enumerate(keys):
                for text in range(count):
                    chance[row, text] = draws(decoding.seed, key, first + text, length)
        run = self._decoder.start(
            encoded, texts, start=self.manifest.decoder_start_token_id, length=length
        )
        # Which text of which prompt stands where in the batch.
        row_of, text_of = (grid.ravel() for grid in np.indices((len(keys), texts)))
        top_k = 1 if greedy else min(decoding.top_k, self.manifest.vocabulary_size)
        for position in range(length):
            likely, token_ids = run.step(top_k)
            if greedy:
                column = np.zeros(len(row_of), dtype=np.int64)
            else:
                column = sample(likely, decoding, chance[row_of, text_of, position])
            here = np.arange(len(row_of))
            tokens = token_ids[here, column]
            going = ~ended[row_of, text_of]
            rows, columns = row_of[going], text_of[going]
            written[rows, columns, position] = tokens[going]
            sums[rows, columns] += likely[here, column][going]
            closing = going & (tokens == end)
            lengths[row_of[closing], text_of[closing]] = position + 1
            ended[row_of[closing], text_of[closing]] = True
            if ended.all():
                break
            run.tokens = tokens
            kept = _places_to_keep(~ended[row_of, text_of], run.shape, least=min(texts, 2))
            if kept is not None:
                run.select(kept)
                row_of, text_of = row_of[kept.ravel()], text_of[kept.ravel()]
        return [
            [
                self._generated(
                    written[row, text, : lengths[row, text]],
                    sums[row, text] / lengths[row, text],
                    finished=bool(ended[row, text]),
                )
                for text in range(count)
            ]
            for row in range(len(keys))
        ]

    def _search(self, encoded: Encoded, count: int, decoding: Decoding) -> list[list[Generated]]:
        """Beam search: the texts of a prompt compete."""
        prompts, beams = len(encoded.mask), decoding.beams
        length, end = decoding.max_length, self.manifest.eos_token_id
        run = self._decoder.start(
            encoded, beams, start=self.manifest.decoder_start_token_id, length=length
        )
        searches = [Beams(beams, end) for _ in range(prompts)]
        running = list(range(prompts))
        top_k = min(2 * beams, self.manifest.vocabulary_size)
        for _ in range(length):
            likely, token_ids = run.step(top_k)
            kept, still = [], []
            for place, number in enumerate(running):
                span = slice(place * beams, (place + 1) * beams)
                origins = searches[number].step(likely[span], token_ids[span])
                if not searches[number].over:
                    kept.append(place * beams + origins)
                    still.append(number)
            if not still:
                break
            running = still
            run.select(np.array(kept))
            run.tokens = np.concatenate([searches[number].tokens[:, -1] for number in running])
        return [[self._from_hypothesis(each) for each in search.best(count)] for search in searches]

    def _from_hypothesis(self, found: Hypothesis) -> Generated:
        text = self._tokenizer.decode(list(found.tokens), skip_special_tokens=True).strip()
        return Generated(text, float(found.score), found.length, found.finished)

    def _generated(self, tokens: Ints, score: float, *, finished: bool) -> Generated:
        text = self._tokenizer.decode(tokens.tolist(), skip_special_tokens=True).strip()
        return Generated(text, float(score), len(tokens), finished)


_PARTS = ("key", "value")


def fill_prompt(template: str, passage: Passage, lang: str) -> str:
    """A prompt: ``{language}``, ``{title}`` and ``{passage}`` filled in, white space folded."""
    values = {"language": language_name(lang), "title": passage.title, "passage": passage.text}
    # In one go, and not by str.format: passages and templates may hold braces of their own.
    return " ".join(_FIELD.sub(lambda match: values[match[1]], template).split())


def _width(ids: Sequence[int]) -> int:
    """Tokens that a prompt is filled up to, whatever prompts are beside it.

    Kernels sum in an order that hangs on the width, so a prompt must always have the same one.
    """
    return WIDTH * max(1, math.ceil(len(ids) / WIDTH))


def _batches(widths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Rows of the same width, at most ``batch_size`` together."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    for _, group in itertools.groupby(order, key=widths.__getitem__):
        while rows := list(itertools.islice(group, batch_size)):
            yield rows


def _places_to_keep(going: NDArray[np.bool_], shape: tuple[int, int], *, least: int) -> Ints | None:
    """The places of a smaller batch that holds all texts still going, None if it pays not.

    A batch is a grid: every prompt has as many texts in it as the one with the most still going.

    Args:
        going: (prompts * texts,), which are still being written.
        shape: prompts and texts of the batch as it is.
        least: texts a prompt that it must have.

    Returns:
        int64 (fewer prompts, fewer texts), places in the batch as it is.
    """
    grid = going.reshape(shape)
    prompts = np.flatnonzero(grid.any(axis=1))
    texts = max(least, int(grid.sum(axis=1).max()))
    if len(prompts) * texts > _SHRINK_BELOW * grid.size:
        return None
    # Those still going come first, in their order; such as have ended fill up.
    first = np.argsort(~grid[prompts], axis=1, kind="stable")[:, :texts]
    return np.asarray(prompts[:, None] * shape[1] + np.sort(first, axis=1), dtype=np.int64)


def _check(count: int, batch_size: int, decoding: Decoding) -> None:
    if isinstance(count, bool) or not 1 <= count <= MAX_TEXTS:
        raise InputError(f"count is {count}: give a number from 1 to {MAX_TEXTS}")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: give a positive number")
    if decoding.method == "greedy" and count > 1:
        raise InputError("greedy decoding writes one text a prompt: sample, or use beam")
    if decoding.method == "beam" and count > decoding.beams:
        raise InputError(
            f"{count} texts a prompt are wanted of {decoding.beams} beams: give at least as many"
        )
