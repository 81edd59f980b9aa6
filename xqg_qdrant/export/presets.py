"""What is known of published models: how their makers pool, prefix and cut texts.

Sources, beside each model's card on the hub: ``xor-tydi`` and ``xqg``: the authors' own commands,
https://github.com/ielab/xQG4xDR. ``mdpr``: Pyserini's ``AutoQueryEncoder`` (CLS, no normalisation,
queries cut at the model's limit) and ``pyserini.encode`` (passages of 256 tokens).
``doc2query``: https://github.com/castorini/docTTTTTquery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from xqg_qdrant.errors import InputError

Preset = TypeVar("Preset")
Pooling = Literal["cls", "mean", "last"]
POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "last")


@dataclass(frozen=True, slots=True)
class EncoderPreset:
    """How a published encoder is used.

    Attributes:
        name: what ``--preset`` takes.
        models: hub ids.
        pooling: which token states make the vector.
        normalize: whether vectors have length one (``cosine``) or not (``dot``).
        query_length: in tokens; None where it is the model's limit.
        passage_length: in tokens; None where it is the model's limit.
        query_prefix: put in front of queries.
        passage_prefix: put in front of passages.
        pooler: whether the transformer's own pooler, a dense layer and tanh, follows the pooling.
    """

    name: str
    models: tuple[str, ...]
    pooling: Pooling
    normalize: bool
    query_length: int | None
    passage_length: int | None
    query_prefix: str = ""
    passage_prefix: str = ""
    pooler: bool = False


@dataclass(frozen=True, slots=True)
class GeneratorPreset:
    """How a published generator of queries is used.

    Attributes:
        name: what ``--preset`` takes.
        models: hub ids.
        prompt: with ``{language}`` (its English name), ``{title}`` and ``{passage}``, where the
            model was trained with them.
        prompt_length: in tokens; longer prompts are cut.
        max_length: tokens of a query.
        languages: codes that it was trained to write in; empty where the model takes no language.
    """

    name: str
    models: tuple[str, ...]
    prompt: str
    prompt_length: int
    max_length: int
    languages: tuple[str, ...]


ENCODERS = (
    EncoderPreset(
        name="xor-tydi",
        models=("ielabgroup/bert-base-multilingual-cased-xor-tydi",),
        pooling="cls",
        normalize=False,
        query_length=32,
        passage_length=128,
    ),
    EncoderPreset(
        name="multilingual-e5",
        models=(
            "intfloat/multilingual-e5-small",
            "intfloat/multilingual-e5-base",
            "intfloat/multilingual-e5-large",
        ),
        pooling="mean",
        normalize=True,
        query_length=512,
        passage_length=512,
        query_prefix="query: ",
        passage_prefix="passage: ",
    ),
    EncoderPreset(
        name="bge-m3",
        models=("BAAI/bge-m3",),
        pooling="cls",
        normalize=True,
        query_length=512,
        passage_length=8192,
    ),
    EncoderPreset(
        name="labse",
        models=("sentence-transformers/LaBSE", "setu4993/LaBSE"),
        pooling="cls",
        normalize=True,
        query_length=256,
        passage_length=256,
        pooler=True,
    ),
    EncoderPreset(
        name="mdpr",
        models=(
            "castorini/mdpr-tied-pft-msmarco",
            "castorini/mdpr-tied-pft-msmarco-ft-all",
            "castorini/mdpr-tied-pft-nq",
        ),
        pooling="cls",
        normalize=False,
        query_length=None,
        passage_length=256,
    ),
)

GENERATORS = (
    GeneratorPreset(
        name="xqg",
        models=(
            "ielabgroup/xor-tydi-docTquery-mt5-base",
            "ielabgroup/xor-tydi-docTquery-mt5-large",
        ),
        prompt="Generate a {language} question for this passage: {title} {passage}",
        prompt_length=256,
        max_length=64,
        languages=("ar", "bn", "fi", "ja", "ko", "ru", "te"),
    ),
    GeneratorPreset(
        name="doc2query",
        models=(
            "castorini/doc2query-t5-base-msmarco",
            "castorini/doc2query-t5-large-msmarco",
        ),
        prompt="{title} {passage}",
        prompt_length=512,
        max_length=64,
        languages=(),
    ),
)


def encoder_preset(name: str) -> EncoderPreset:
    """The preset of that name.

    Raises:
        InputError: there is none; those there are are listed.
    """
    return _named(name, {each.name: each for each in ENCODERS}, "encoder")


def generator_preset(name: str) -> GeneratorPreset:
    """The preset of that name.

    Raises:
        InputError: there is none; those there are are listed.
    """
    return _named(name, {each.name: each for each in GENERATORS}, "generator")


def find_encoder_preset(model: str) -> EncoderPreset | None:
    """The preset of a hub id, or of a local folder named like one; None if there is none."""
    return next((each for each in ENCODERS if _fits(model, each.models)), None)


def find_generator_preset(model: str) -> GeneratorPreset | None:
    """The preset of a hub id, or of a local folder named like one; None if there is none."""
    return next((each for each in GENERATORS if _fits(model, each.models)), None)


def _named(name: str, presets: dict[str, Preset], kind: str) -> Preset:
    if name not in presets:
        raise InputError(f"no {kind} preset {name!r}: there are {', '.join(presets)}")
    return presets[name]


def _fits(model: str, models: tuple[str, ...]) -> bool:
    tail = model.rstrip("/").split("/")[-1].lower()
    return any(tail == each.split("/")[-1].lower() for each in models)
