"""Encoders to ONNX: pooling, dense head and normalisation in the graph, beside the transformer."""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xqg_qdrant.errors import InputError
from xqg_qdrant.export import parity
from xqg_qdrant.export.checkpoint import Checkpoint
from xqg_qdrant.export.folder import (
    Exported,
    check_target,
    known_languages,
    rewrite_model,
    save_model,
    save_tokenizer,
    source_of,
    staged_folder,
    write_manifest,
)
from xqg_qdrant.export.presets import Pooling
from xqg_qdrant.export.quantize import quantize
from xqg_qdrant.export.settings import EncoderOptions, EncoderSettings, resolve_settings
from xqg_qdrant.export.tracing import to_onnx
from xqg_qdrant.export.trim import trim
from xqg_qdrant.export.vocabulary import parse_trim_option, select_tokens
from xqg_qdrant.models.encoder import Encoder, Kind
from xqg_qdrant.models.manifest import MODEL_FILE, TextKind

if TYPE_CHECKING:
    import onnx
    import torch
    from tokenizers import Tokenizer

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
OPSET = 17


def export_encoder(
    checkpoint: Checkpoint,
    output: Path,
    *,
    name: str | None = None,
    preset: str | None = None,
    options: EncoderOptions | None = None,
    precision: Precision = "fp32",
    trim_vocab: str | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Turn a checkpoint into a model folder, and check that it makes the same vectors as torch.

    Args:
        checkpoint: from :func:`~xqg_qdrant.export.checkpoint.open_checkpoint`.
        output: the model folder to be; it appears whole or not at all.
        name: of the model; the folder's name when None.
        preset: how the model is used; see :mod:`~xqg_qdrant.export.presets`. When None, what the
            checkpoint says, or the preset that goes by its name.
        options: what goes before preset and checkpoint.
        precision: of the weights of matrix products and of embedding tables.
        trim_vocab: languages, or files, whose tokens alone are kept, separated by commas.
        force: replace a model folder that is there already.
        say: is told what is being done.

    Raises:
        InputError: an argument is wrong, or the model is no encoder.
        ModelError: it cannot be exported, or what was exported differs from torch.
        StorageError: it cannot be written.
    """
    start = time.perf_counter()
    say = say or (lambda text: None)
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    check_target(output, force=force)
    option = parse_trim_option(trim_vocab) if trim_vocab is not None else None
    say("loading the checkpoint")
    settings = resolve_settings(checkpoint, options or EncoderOptions(), preset=preset)
    tokenizer = _lowering(checkpoint.tokenizer) if settings.lowercase else checkpoint.tokenizer
    kinds: dict[Kind, TextKind] = {"query": settings.query, "passage": settings.passage}
    transformer, pad_token_id = settings.transformer, checkpoint.pad_token_id
    module = text_encoder(transformer, settings)
    texts = parity.sample_texts(tokenizer, kinds)
    vocabulary = None
    if option is not None:
        say("trimming the vocabulary")
        always = (settings.query.prefix, settings.passage.prefix)
        trimmed = trim(transformer, tokenizer, select_tokens(tokenizer, option, always=always))
        (pad_token_id,) = trimmed.renumber([pad_token_id])
        vocabulary = {
            "trimmed_to": str(option),
            "tokens": trimmed.tokens,
            "tokens_before": trimmed.tokens_before,
        }
        # Where no sample keeps its tokens, the trimmed model is all there is to compare with.
        kept = parity.unchanged(texts, tokenizer, trimmed.tokenizer)
        smaller = text_encoder(trimmed.model, settings)
        if all(len(some) > 1 for some in kept.values()):
            texts = kept
        else:
            module, tokenizer = smaller, trimmed.tokenizer
    say("encoding samples with torch")
    reference = parity.torch_vectors(module, tokenizer, texts, kinds)
    if option is not None:
        module, tokenizer = smaller, trimmed.tokenizer
    prepared = {
        kind: {"prefix": each.prefix, "max_length": each.max_length} for kind, each in kinds.items()
    }
    fields: dict[str, Any] = {
        "kind": "encoder",
        "name": name or output.resolve().name,
        "dimension": reference.vectors["query"].shape[1],
        "similarity": settings.similarity,
        "pooling": settings.pooling,
        "query": prepared["query"],
        "passage": prepared["passage"],
        "pad_token_id": pad_token_id,
        "precision": "fp32",
        "opset": OPSET,
        "languages": known_languages(checkpoint.languages),
        "source": source_of(checkpoint, preset=settings.preset),
        **({"vocabulary": vocabulary} if vocabulary else {}),
        "license": checkpoint.license or "unknown",
    }
    with staged_folder(output, force=force) as folder:
        save_tokenizer(tokenizer, folder)
        say("exporting to ONNX")
        save_model(_trace(module, tokenizer.get_vocab_size(), folder), folder, MODEL_FILE)
        del module, transformer, settings
        gc.collect()
        say("comparing with torch")
        write_manifest(folder, {**fields, "parity": {}})
        measured = parity.check_fp32(Encoder.load(folder), reference)
        if precision == "int8":
            say("rounding to int8")
            rewrite_model(folder, MODEL_FILE, quantize)
            fields["precision"] = "int8"
            say("comparing with torch")
            write_manifest(folder, {**fields, "parity": {}})
            measured = {
                **parity.check_int8(Encoder.load(folder), reference),
                "before_rounding": measured,
            }
        manifest = write_manifest(folder, {**fields, "parity": measured})
    return Exported(output, manifest, time.perf_counter() - start)


def text_encoder(transformer: torch.nn.Module, settings: EncoderSettings) -> torch.nn.Module:
    """A module from token ids and attention mask, int64 (batch, tokens), to vectors.

    Vectors are float32, (batch, dimension): token states pooled, through the dense heads, and
    divided by their length where the settings say so.
    """
    import torch
    from torch import Tensor

    taken = inspect.signature(transformer.forward).parameters

    class TextEncoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer
            self.heads = torch.nn.ModuleList(settings.heads)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
            if "token_type_ids" in taken:
                inputs["token_type_ids"] = torch.zeros_like(input_ids)
            if "use_cache" in taken:
                inputs["use_cache"] = False
            states = self.transformer(**inputs).last_hidden_state
            vectors = _pool(states, attention_mask, settings.pooling)
            for head in self.heads:
                vectors = head(vectors)
            if settings.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            return vectors

    return TextEncoder().eval()


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    import torch

    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        # Texts are padded on the right.
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        places = last[:, None, None].expand(-1, 1, states.shape[-1])
        return torch.gather(states, 1, places).squeeze(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _trace(module: torch.nn.Module, vocabulary: int, folder: Path) -> onnx.ModelProto:
    import torch

    # Two texts, one of them padded: nothing may be taken for always 1.
    ids = torch.arange(16).reshape(2, 8) % vocabulary
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    tokens = {0: "batch", 1: "tokens"}
    return to_onnx(
        module,
        (ids, mask),
        folder,
        inputs=("input_ids", "attention_mask"),
        outputs=("embedding",),
        axes={"input_ids": tokens, "attention_mask": tokens, "embedding": {0: "batch"}},
        opset=OPSET,
    )


def _lowering(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that first lowers its texts, as sentence-transformers does for some models."""
    from tokenizers import Tokenizer, normalizers

    lowering = Tokenizer.from_str(tokenizer.to_str())
    steps = [normalizers.Lowercase()]
    if lowering.normalizer is not None:
        steps.append(lowering.normalizer)
    lowering.normalizer = normalizers.Sequence(steps)
    return lowering
