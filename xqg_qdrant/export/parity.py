"""Whether a model folder makes the same vectors as torch, measured on the bundled samples.

The reference is torch, without padding; what is checked is the model folder as the run
time loads it. So the check covers the graph, padding, position ids, truncation and prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages, read_questions
from xqg_qdrant.errors import ModelError
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.models.encoder import Encoder, Kind, passage_text
from xqg_qdrant.models.manifest import TextKind

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

LEAST_COSINE = 0.99999
LARGEST_DIFFERENCE = 1e-4
"""Of an element, as a share of the largest element of all vectors."""

LEAST_COSINE_INT8 = 0.9
LEAST_MEAN_COSINE_INT8 = 0.97
LARGEST_LOSS_INT8 = 0.05
"""Of MRR@10 on the samples, 120 questions, whose standard error alone is about .03."""

LEAST_COSINE_BATCHED = 0.9999

_EVERY = 4
_LONG_TOKENS = 512
_DEPTH = 10
_KINDS: tuple[Kind, ...] = ("query", "passage")


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the samples.

    Attributes:
        text: as the user has it, without prefix.
        passage: which of the sample passages it is, or answers it; -1 for the long text.
    """

    text: str
    passage: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch makes of the samples.

    Attributes:
        texts: by kind.
        vectors: by kind, float32, (texts, dimension).
    """

    texts: Mapping[Kind, Sequence[Text]]
    vectors: Mapping[Kind, Matrix]

    @property
    def size(self) -> int:
        """How many texts there are."""
        return sum(map(len, self.texts.values()))


def sample_texts(tokenizer: Tokenizer, kinds: Mapping[Kind, TextKind]) -> dict[Kind, list[Text]]:
    """Passages, questions in eight languages, and a long text that is cut, or nearly so."""
    passages = [passage for _, passage in read_passages(samples.PASSAGES)]
    number = {passage.id: place for place, passage in enumerate(passages)}
    questions = [
        Text(question.text, number[qrel.passage_id])
        for _, (question, qrel) in read_questions(samples.QUESTIONS)
    ]
    each_passage = [Text(passage_text(passage), place) for place, passage in enumerate(passages)]
    # The languages of a passage's questions stand in a row: a shift, or some would never come.
    some = [each for place, each in enumerate(questions) if place % _EVERY == each.passage % _EVERY]
    texts: dict[Kind, list[Text]] = {"query": some, "passage": each_passage}
    for kind, prepared in kinds.items():
        wanted = min(prepared.max_length, _LONG_TOKENS) + 1
        words: list[str] = []
        for each in each_passage:
            words.append(each.text)
            if len(tokenizer.encode(" ".join(words)).ids) >= wanted:
                break
        texts[kind].append(Text(" ".join(words), -1))
    return texts


def torch_vectors(
    module: torch.nn.Module,
    tokenizer: Tokenizer,
    texts: Mapping[Kind, Sequence[Text]],
    kinds: Mapping[Kind, TextKind],
) -> Reference:
    """Encode texts with torch, those of one length together, so that none is padded.

    Args:
        module: from token ids and attention mask to vectors.
        tokenizer: without truncation; it is left as it is.
        texts: by kind.
        kinds: how each kind is prepared.
    """
    import torch
    from tokenizers import Tokenizer

    vectors: dict[Kind, Matrix] = {}
    for kind, prepared in kinds.items():
        cutting = Tokenizer.from_str(tokenizer.to_str())
        cutting.enable_truncation(max_length=prepared.max_length)
        encoded = [cutting.encode(prepared.prefix + each.text).ids for each in texts[kind]]
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(encoded):
            by_length.setdefault(len(ids), []).append(place)
        rows: list[Any] = [None] * len(encoded)
        with torch.inference_mode():
            for places in by_length.values():
                batch = torch.tensor([encoded[place] for place in places])
                for place, vector in zip(
                    places, module(batch, torch.ones_like(batch)), strict=True
                ):
                    rows[place] = vector.numpy()
        vectors[kind] = np.stack(rows).astype(np.float32)
    return Reference(texts, vectors)


def unchanged(
    texts: Mapping[Kind, Sequence[Text]], before: Tokenizer, after: Tokenizer
) -> dict[Kind, list[Text]]:
    """The texts that two tokenizers cut up in the same way."""
    return {
        kind: [
            each
            for each in some
            if before.encode(each.text).tokens == after.encode(each.text).tokens
        ]
        for kind, some in texts.items()
    }


def check_fp32(encoder: Encoder, reference: Reference) -> dict[str, Any]:
    """Compare an encoder with torch.

    Returns:
        What was measured, for the manifest.

    Raises:
        ModelError: the vectors differ.
    """
    measured = _measure(encoder, reference)
    figures = {
        key: measured[key]
        for key in (
            "texts",
            "maximum_absolute_difference",
            "minimum_cosine_to_torch",
            "minimum_cosine_alone_to_batched",
        )
    }
    largest = max(float(np.abs(each).max()) for each in reference.vectors.values())
    _demand(
        {
            f"minimum_cosine_to_torch under {LEAST_COSINE}": (
                measured["minimum_cosine_to_torch"] >= LEAST_COSINE
            ),
            f"maximum_absolute_difference over {LARGEST_DIFFERENCE:g} of the largest element": (
                measured["maximum_absolute_difference"] <= LARGEST_DIFFERENCE * largest
            ),
            f"minimum_cosine_alone_to_batched under {LEAST_COSINE_BATCHED}": (
                measured["minimum_cosine_alone_to_batched"] >= LEAST_COSINE_BATCHED
            ),
        },
        figures,
        "what was exported differs from the checkpoint in torch",
    )
    return figures


def check_int8(encoder: Encoder, reference: Reference) -> dict[str, Any]:
    """Measure what int8 costs, against torch in float32.

    Returns:
        What was measured, for the manifest.

    Raises:
        ModelError: it costs too much.
    """
    measured = _measure(encoder, reference)
    del measured["maximum_absolute_difference"]
    _demand(
        {
            f"minimum_cosine_to_torch under {LEAST_COSINE_INT8}": (
                measured["minimum_cosine_to_torch"] >= LEAST_COSINE_INT8
            ),
            f"mean_cosine_to_torch under {LEAST_MEAN_COSINE_INT8}": (
                measured["mean_cosine_to_torch"] >= LEAST_MEAN_COSINE_INT8
            ),
            f"mrr_at_10_loss over {LARGEST_LOSS_INT8}": (
                measured["mrr_at_10_loss"] <= LARGEST_LOSS_INT8
            ),
            f"minimum_cosine_alone_to_batched under {LEAST_COSINE_BATCHED}": (
                measured["minimum_cosine_alone_to_batched"] >= LEAST_COSINE_BATCHED
            ),
        },
        measured,
        "int8 costs this model too much; export it with --precision fp32",
    )
    return measured


def _demand(conditions: Mapping[str, bool], figures: Mapping[str, Any], message: str) -> None:
    failed = [text for text, holds in conditions.items() if not holds]
    if failed:
        values = ", ".join(f"{key} {value}" for key, value in figures.items())
        raise ModelError(
            f"parity check failed, {message}: {'; '.join(failed)} (measured: {values})"
        )


def _measure(encoder: Encoder, reference: Reference) -> dict[str, Any]:
    batched, alone = {}, {}
    for kind in _KINDS:
        texts = [each.text for each in reference.texts[kind]]
        batched[kind] = encoder.encode(texts, kind).vectors
        alone[kind] = encoder.encode(texts, kind, batch_size=1).vectors
    torch_all, batched_all, alone_all = (
        np.concatenate([each[kind] for kind in _KINDS])
        for each in (reference.vectors, batched, alone)
    )
    cosines = np.minimum(_cosines(torch_all, batched_all), _cosines(torch_all, alone_all))
    expected, found = (_ranking(reference, each) for each in (reference.vectors, batched))
    return {
        "texts": reference.size,
        "maximum_absolute_difference": float(
            f"{max(np.abs(torch_all - each).max() for each in (batched_all, alone_all)):.3g}"
        ),
        "minimum_cosine_to_torch": _round(cosines.min()),
        "mean_cosine_to_torch": _round(cosines.mean()),
        "minimum_cosine_alone_to_batched": _round(_cosines(alone_all, batched_all).min()),
        "mrr_at_10_loss": _round(_mrr(reference, expected) - _mrr(reference, found)),
        "same_first_passage": _round((expected[:, 0] == found[:, 0]).mean()),
    }


def _ranking(reference: Reference, vectors: Mapping[Kind, Matrix]) -> np.ndarray[Any, Any]:
    """For each question the sample passages, best first; the long texts take no part."""
    asked = [place for place, each in enumerate(reference.texts["query"]) if each.passage >= 0]
    pool = [place for place, each in enumerate(reference.texts["passage"]) if each.passage >= 0]
    scores = vectors["query"][asked] @ vectors["passage"][pool].T
    numbers = np.array([reference.texts["passage"][place].passage for place in pool])
    return numbers[np.argsort(-scores, axis=1, kind="stable")]


def _mrr(reference: Reference, ranking: np.ndarray[Any, Any]) -> float:
    own = np.array([each.passage for each in reference.texts["query"] if each.passage >= 0])
    hits = ranking[:, :_DEPTH] == own[:, None]
    return float((hits / np.arange(1, hits.shape[1] + 1)).sum(axis=1).mean())


def _cosines(one: Matrix, other: Matrix) -> np.ndarray[Any, Any]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-30))


def _round(value: float) -> float:
    return round(float(value), 6)
