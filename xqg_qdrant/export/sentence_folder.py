"""sentence-transformers folders, read without that package: ``modules.json`` and what it names.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html describes the format.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.export.checkpoint import MODULES_FILE, Checkpoint, first, read_modules
from xqg_qdrant.export.presets import POOLINGS, Pooling

if TYPE_CHECKING:
    import torch

_TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
_POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """What a sentence-transformers folder says of itself.

    Attributes:
        pooling: which token states make the vector.
        normalize: whether vectors have length one.
        heads: dense layers between pooling and normalisation, with their activations.
        max_length: in tokens; None where it does not say.
        lowercase: whether texts are lowered before the tokenizer sees them.
        query_prefix: None where it does not say.
        passage_prefix: None where it does not say.
    """

    pooling: Pooling
    normalize: bool
    heads: tuple[torch.nn.Module, ...]
    max_length: int | None
    lowercase: bool
    query_prefix: str | None
    passage_prefix: str | None


def read_sentence_folder(checkpoint: Checkpoint) -> SentenceFolder | None:
    """Read the modules of a sentence-transformers folder; None where it is none.

    Raises:
        InputError: it has a module, or a pooling, that cannot be exported.
        ModelError: it is malformed.
    """
    path = checkpoint.folder / MODULES_FILE
    if not path.is_file():
        return None
    modules = [
        (_kind(path, each["type"]), checkpoint.folder / each["path"]) for each in read_modules(path)
    ]
    kinds = [kind for kind, _ in modules]
    normalize = kinds[-1] == "Normalize"
    dense = kinds[2 : len(kinds) - normalize]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Dense" for kind in dense):
        raise InputError(
            f"{path}: the modules are {', '.join(kinds)}: only Transformer, Pooling, any number of "
            "Dense and perhaps Normalize, in this order, can be exported"
        )
    settings = _first_of(checkpoint.folder, "config_sentence_transformers.json")
    query_prefix, passage_prefix = _prefixes(settings)
    pooling = _read_pooling(
        modules[1][1] / "config.json", prefixed=bool(query_prefix or passage_prefix)
    )
    transformer = _first_of(checkpoint.transformer, *_TRANSFORMER_CONFIGS)
    length = transformer.get("max_seq_length")
    return SentenceFolder(
        pooling=pooling,
        normalize=normalize or _is_cosine(path, settings),
        heads=tuple(
            _read_dense(folder, allow_pickle=checkpoint.allow_pickle)
            for kind, folder in modules
            if kind == "Dense"
        ),
        max_length=length if isinstance(length, int) and length > 0 else None,
        lowercase=transformer.get("do_lower_case") is True,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
    )


def _kind(path: Path, name: str) -> str:
    package, _, kind = name.rpartition(".")
    if package.split(".")[0] != "sentence_transformers":
        raise InputError(f"{path}: the module {name} is code of its own, which is never run")
    return kind


def _is_cosine(path: Path, settings: Mapping[str, Any]) -> bool:
    similarity = settings.get("similarity_fn_name")
    if similarity is None:
        log.warning(
            "%s: neither a Normalize module nor a similarity: vectors are normalised for cosine, "
            "as sentence-transformers compares them; give --no-normalize if they are meant for "
            "the dot product",
            path,
        )
    elif similarity not in ("cosine", "dot"):
        raise InputError(f"{path.parent}: the similarity {similarity!r} is neither cosine nor dot")
    return similarity != "dot"


def _read_pooling(path: Path, *, prefixed: bool) -> Pooling:
    row = _read(path)
    modes = row.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _POOLING_MODES.items() if row.get(key)] or ["mean"]
    listed = [modes] if isinstance(modes, str) else list(modes)
    mode = "last" if listed == ["lasttoken"] else " + ".join(map(str, listed))
    if mode not in POOLINGS:
        raise InputError(f"{path}: the pooling {mode} cannot be exported, only cls, mean or last")
    if row.get("include_prompt") is False and prefixed:
        raise InputError(f"{path}: pooling that leaves out the prompt cannot be exported")
    return mode


def _prefixes(settings: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Of queries and passages, by the names that sentence-transformers itself looks for."""
    prompts = settings.get("prompts")
    if not isinstance(prompts, dict):
        return None, None
    default = prompts.get(settings.get("default_prompt_name"))

    def find(*names: str) -> str | None:
        found = next((prompts[name] for name in names if prompts.get(name)), default)
        return found if isinstance(found, str) else None

    return find("query"), find("document", "passage", "corpus")


def _read_dense(folder: Path, *, allow_pickle: bool) -> torch.nn.Module:
    import torch
    from safetensors.torch import load_file

    row = _read(folder / "config.json")
    name = str(row.get("activation_function") or "torch.nn.modules.linear.Identity")
    activation = name.rpartition(".")[2]
    if activation not in _ACTIVATIONS or not name.startswith("torch.nn.modules."):
        raise InputError(f"{folder}: the activation {name} cannot be exported")
    if row.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise InputError(f"{folder}: only a Dense module over the pooled vector can be exported")
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and pickled.is_file() and not allow_pickle:
        raise InputError(f"{pickled}: pickled weights, which are read only with --allow-pickle")
    try:
        weights = (
            load_file(safe)
            if safe.is_file()
            else torch.load(pickled, map_location="cpu", weights_only=True)
        )
        linear = torch.nn.Linear(
            int(row["in_features"]), int(row["out_features"]), bias=bool(row.get("bias", True))
        )
        linear.load_state_dict(
            {key.removeprefix("linear."): value.float() for key, value in weights.items()}
        )
    except Exception as error:
        raise ModelError(f"{folder}: the Dense module cannot be loaded: {first(error)}") from error
    return torch.nn.Sequential(linear, getattr(torch.nn, activation)())


def _first_of(folder: Path, *names: str) -> Mapping[str, Any]:
    return next((_read(folder / name) for name in names if (folder / name).is_file()), {})


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_json_object(path)
    except InputError as error:
        raise ModelError(str(error)) from None
