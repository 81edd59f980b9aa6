"""How texts become vectors in a checkpoint: its own word, a preset's, the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xqg_qdrant.errors import InputError
from xqg_qdrant.export.checkpoint import Checkpoint, load_model
from xqg_qdrant.export.presets import (
    POOLINGS,
    EncoderPreset,
    Pooling,
    encoder_preset,
    find_encoder_preset,
)
from xqg_qdrant.export.sentence_folder import SentenceFolder, read_sentence_folder
from xqg_qdrant.models.manifest import MAX_LENGTH, TextKind

if TYPE_CHECKING:
    import torch

DEFAULT_LENGTH = 512
"""Most tokens of a text where neither the model, nor a preset, nor the user says."""

_ENCODER_HALVES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """What the user says of an encoder; None leaves it to preset and checkpoint.

    Attributes:
        pooling: which token states make the vector: ``cls``, ``mean`` or ``last``.
        normalize: whether vectors have length one, for cosine; else they are for the dot product.
        query_prefix: put in front of queries.
        passage_prefix: put in front of passages.
        query_length: in tokens.
        passage_length: in tokens.
    """

    pooling: Pooling | None = None
    normalize: bool | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    query_length: int | None = None
    passage_length: int | None = None


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """An encoder that is ready to be exported.

    Attributes:
        transformer: float32, evaluating.
        heads: dense layers after the pooling.
        pooling: which token states make the vector.
        normalize: whether vectors have length one.
        query: how queries are prepared.
        passage: how passages are prepared.
        lowercase: whether texts are lowered before the tokenizer sees them.
        preset: the name of the preset that was used; None if none was.
    """

    transformer: torch.nn.Module
    heads: tuple[torch.nn.Module, ...]
    pooling: Pooling
    normalize: bool
    query: TextKind
    passage: TextKind
    lowercase: bool
    preset: str | None

    @property
    def similarity(self) -> str:
        """``cosine`` or ``dot``."""
        return "cosine" if self.normalize else "dot"


def resolve_settings(
    checkpoint: Checkpoint, options: EncoderOptions, *, preset: str | None = None
) -> EncoderSettings:
    """Load an encoder and find out how it is used.

    The user's options come first, then a preset that was asked for, then the folder's own
    ``modules.json``, then a preset that goes by the model's name.

    Raises:
        InputError: pooling or similarity are not known from any of them, an option is out of
            range, or the model is no encoder.
        ModelError: the checkpoint's files are malformed.
    """
    chosen = encoder_preset(preset) if preset is not None else None
    own = read_sentence_folder(checkpoint)
    guessed = find_encoder_preset(checkpoint.source) if chosen is None else None
    layers: list[EncoderOptions] = [options]
    layers += [_of_preset(chosen)] if chosen else []
    layers += [_of_folder(own)] if own else []
    layers += [_of_preset(guessed)] if guessed else []

    def first_of(field: str) -> Any:
        return next(
            (value for layer in layers if (value := getattr(layer, field)) is not None), None
        )

    pooling, normalize = first_of("pooling"), first_of("normalize")
    _check(checkpoint, pooling, normalize)
    used = chosen or guessed
    pooler = own is None and used is not None and used.pooler
    transformer = _load(checkpoint, pooler=pooler)
    limit = _position_limit(transformer)
    lengths = {}
    for kind in ("query", "passage"):
        asked = getattr(options, f"{kind}_length")
        known = asked or first_of(f"{kind}_length")
        if known is None and used is None:
            known = min(checkpoint.max_tokens or DEFAULT_LENGTH, DEFAULT_LENGTH)
        lengths[kind] = min(known or limit, limit)
        if asked is not None and not 2 <= asked <= limit:
            raise InputError(
                f"{kind} length {asked}: this model takes from 2 to {limit} tokens of a text"
            )
    return EncoderSettings(
        transformer=transformer,
        heads=own.heads if own else _pooler(transformer) if pooler else (),
        pooling=pooling,
        normalize=normalize,
        query=TextKind(first_of("query_prefix") or "", lengths["query"]),
        passage=TextKind(first_of("passage_prefix") or "", lengths["passage"]),
        lowercase=own is not None and own.lowercase,
        preset=used.name if used else None,
    )


def _check(checkpoint: Checkpoint, pooling: str | None, normalize: bool | None) -> None:
    if pooling is None or normalize is None:
        missing = [
            *(["--pooling cls, mean or last"] if pooling is None else []),
            *(["--normalize or --no-normalize"] if normalize is None else []),
        ]
        raise InputError(
            f"{checkpoint.source}: it does not say how its vectors are made, and no preset goes by "
            f"its name. A guess could make wrong vectors: give {' and '.join(missing)}, as its "
            "makers say, or --preset"
        )
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")


def _of_preset(preset: EncoderPreset) -> EncoderOptions:
    return EncoderOptions(
        pooling=preset.pooling,
        normalize=preset.normalize,
        query_prefix=preset.query_prefix,
        passage_prefix=preset.passage_prefix,
        query_length=preset.query_length,
        passage_length=preset.passage_length,
    )


def _of_folder(folder: SentenceFolder) -> EncoderOptions:
    return EncoderOptions(
        pooling=folder.pooling,
        normalize=folder.normalize,
        query_prefix=folder.query_prefix,
        passage_prefix=folder.passage_prefix,
        query_length=folder.max_length,
        passage_length=folder.max_length,
    )


def _load(checkpoint: Checkpoint, *, pooler: bool) -> torch.nn.Module:
    import transformers

    model_type = checkpoint.config.model_type
    if model_type in _ENCODER_HALVES:
        auto_class = getattr(transformers, _ENCODER_HALVES[model_type])
    elif getattr(checkpoint.config, "is_encoder_decoder", False):
        raise InputError(
            f"{checkpoint.source}: the architecture {model_type!r} is no encoder; is it a "
            "generator (--kind generator)?"
        )
    else:
        auto_class = transformers.AutoModel
    return load_model(checkpoint, auto_class, unused=() if pooler else ("pooler.",))


def _pooler(transformer: Any) -> tuple[torch.nn.Module, ...]:
    import torch

    pooler = getattr(transformer, "pooler", None)
    if pooler is None:
        raise InputError(f"{type(transformer).__name__} has no pooler, which the preset needs")
    return (torch.nn.Sequential(pooler.dense, pooler.activation),)


def _position_limit(transformer: Any) -> int:
    """Most tokens of a text that the model has positions for."""
    import torch

    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa's positions begin after the pad id.
            taken = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - taken
    positions = getattr(transformer.config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 1 else MAX_LENGTH
