"""Smaller vocabularies: a model without the tokens that its languages never use.

Most of a small multilingual model is its vocabulary: the table of embeddings and, in a generator,
the output layer, which is also most of its work. Leaving tokens out (Abdaoui, Pradel and Sigel,
"Load What You Need", 2020, https://arxiv.org/abs/2010.05609) changes nothing about the others:

* A row of the table, or of the output layer, does not hang on the other rows.
* Unigram takes the likeliest of all ways to cut up a text (Kudo 2018, arXiv:1804.10959). If the
  likeliest way uses kept pieces alone, it is still there and still the likeliest of those left. The
  one score that does hang on the vocabulary is that of an unknown character, which lies a fixed
  step below the worst piece's; so the worst piece is always kept. Without it, unknown characters
  would become likelier than they were, likelier even than pieces.
* WordPiece takes the longest piece that fits, from the left. If all taken are kept, each is still
  the longest that fits. Only a word that was unknown may now be cut up otherwise.

BPE merges pairs step by step, and takes no part here: see :func:`~.vocabulary.check_trimmable`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.export.vocabulary import check_trimmable

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

ARCHITECTURES = ("bert", "distilbert", "mt5", "t5", "umt5", "xlm-roberta")
"""Model types whose vocabulary is the input embeddings and the output layer, and nothing else."""

_FROM_PAD = ("xlm-roberta",)
"""Model types whose positions are counted from the pad id on: it must stay what it is."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")

_OTHER_IDS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "force_words_ids",
    "forced_decoder_ids",
    "sequence_bias",
    "suppress_tokens",
)
"""Settings of generation that hold ids of tokens, ordinary ones too."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A model and its tokenizer with fewer tokens.

    Attributes:
        model: shares all weights but the vocabulary's with the model it was made of.
        tokenizer: numbers the same tokens otherwise.
        kept: int64, (tokens,): the old id of every new id, ascending.
        tokens_before: tokens of the old tokenizer.
        rows_before: rows of the old embedding table, which may be padded.
        parameters_before: parameters of the old model; shared ones count once.
        parameters: parameters of the model.
    """

    model: torch.nn.Module
    tokenizer: Tokenizer
    kept: NDArray[np.int64]
    tokens_before: int
    rows_before: int
    parameters_before: int
    parameters: int

    @property
    def tokens(self) -> int:
        """Tokens of the new tokenizer, and rows of the new table."""
        return len(self.kept)

    def renumber(self, ids: Iterable[int]) -> list[int]:
        """Give the new ids of old ones.

        Raises:
            InputError: one was not kept.
        """
        new_ids = {int(old): new for new, old in enumerate(self.kept)}
        try:
            return [new_ids[number] for number in ids]
        except KeyError as error:
            raise InputError(f"token {error.args[0]} was not kept") from None


def trim(
    model: torch.nn.Module, tokenizer: Tokenizer, keep: Iterable[int], *, multiple: int = 1
) -> Trimmed:
    """Leave out all tokens but some, from a model and from its tokenizer.

    Kept in any case: special and added tokens, pieces for single bytes, the unknown token, the
    worst piece of a Unigram vocabulary (see the module), and what configurations name. Padding
    rows of the table, which no token has, go. Tokens keep their order. What goes in stays as it is.

    Args:
        model: of transformers, one of ``ARCHITECTURES``, with or without its output layer.
        tokenizer: the model's, Unigram or WordPiece.
        keep: ids to keep; see :func:`~.vocabulary.select_tokens`.
        multiple: so many tokens, or a multiple of it, are kept, because some kernels are fast
            with round numbers alone: others with the lowest ids, the commonest, fill up.

    Raises:
        InputError: ``keep`` has an id that is no token's, or ``multiple`` is not positive.
        ModelError: model or tokenizer cannot be trimmed, or do not belong together.
    """
    check_trimmable(tokenizer)
    rows = _check_model(model, tokenizer)
    needed = {*keep, *_ids_of_model(model, tokenizer)}
    smaller, kept = trim_tokenizer(tokenizer, needed, multiple=multiple)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    trimmed = _smaller_model(model, kept, new_ids)
    return Trimmed(
        model=trimmed,
        tokenizer=smaller,
        kept=kept,
        tokens_before=len(tokenizer.get_vocab()),
        rows_before=rows,
        parameters_before=_count(model),
        parameters=_count(trimmed),
    )


def trim_tokenizer(
    tokenizer: Tokenizer, keep: Iterable[int], *, multiple: int = 1
) -> tuple[Tokenizer, NDArray[np.int64]]:
    """Leave out all tokens but some from a tokenizer; see :func:`trim`.

    Returns:
        The tokenizer, and the old id of each of its ids: int64, (tokens,), ascending.

    Raises:
        InputError: ``keep`` has an id that is no token's, or ``multiple`` is not positive.
        ModelError: the tokenizer cannot be trimmed.
    """
    check_trimmable(tokenizer)
    if multiple < 1:
        raise InputError(f"multiple is {multiple}: give a positive number")
    state = json.loads(tokenizer.to_str())
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    wanted = set(keep)
    if unknown := sorted(wanted - tokens.keys()):
        raise InputError(f"token {unknown[0]} to keep is none of the tokenizer's {len(tokens):,}")
    wanted |= _indispensable(state)
    others = sorted(tokens.keys() - wanted)
    wanted.update(others[: -len(wanted) % multiple])
    kept = np.array(sorted(wanted), dtype=np.int64)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    smaller = _smaller_tokenizer(state, new_ids)
    if smaller.get_vocab() != {tokens.get(old): new for old, new in new_ids.items()}:
        raise ModelError(
            "the tokenizer numbers its tokens otherwise than its file says, and cannot be trimmed: "
            "export it without --trim-vocab"
        )
    return smaller, kept


def _check_model(model: Any, tokenizer: Tokenizer) -> int:
    """Check that a model is one that can be trimmed; returns the rows of its table."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"the vocabulary of a {kind or type(model).__name__} model cannot be trimmed, only "
            f"that of {', '.join(ARCHITECTURES)}: export it without --trim-vocab"
        )
    tables = _tables(model)
    rows = {table.weight.shape[0] for table in tables}
    if len(rows) != 1:
        raise ModelError(
            f"the model's embeddings and output layer have unlike numbers of rows {sorted(rows)}: "
            "the checkpoint is damaged"
        )
    (count,) = rows
    if (last := max(tokenizer.get_vocab().values())) >= count:
        raise ModelError(
            f"the tokenizer has a token {last}, but the model embeds only {count:,}: "
            "the tokenizer is not this model's"
        )
    for config in _configs(model):
        for name in _OTHER_IDS:
            if getattr(config, name, None):
                raise ModelError(
                    f"the checkpoint's configuration sets {name}, which --trim-vocab cannot "
                    "renumber: take it out of config.json and generation_config.json"
                )
    return int(count)


def _ids_of_model(model: Any, tokenizer: Tokenizer) -> set[int]:
    """The tokens that a model's configurations name, and those that its positions hang on."""
    tokens = set(tokenizer.get_vocab().values())
    needed: set[int] = set()
    for config in _configs(model):
        for name, numbers in _named_ids(config):
            if lost := set(numbers) - tokens:
                raise ModelError(
                    f"the checkpoint's {name} is {min(lost)}, which is none of the tokenizer's "
                    f"{len(tokens):,} tokens: correct config.json or generation_config.json"
                )
            needed.update(numbers)
    if model.config.model_type in _FROM_PAD and (pad := model.config.pad_token_id) is not None:
        needed.update(tokens & set(range(pad)))
    return needed


def _indispensable(state: dict[str, Any]) -> set[int]:
    """What a tokenizer cannot do without."""
    needed = {token["id"] for token in state["added_tokens"]}

    def note(number: int) -> int:
        needed.add(number)
        return number

    _renumber_frame(state, note)
    model = state["model"]
    if model["type"] == "Unigram":
        pieces = model["vocab"]
        needed |= {number for number, (piece, _) in enumerate(pieces) if _BYTE.fullmatch(piece)}
        needed.add(min(range(len(pieces)), key=lambda number: pieces[number][1]))
        if model["unk_id"] is not None:
            needed.add(model["unk_id"])
    elif model["unk_token"] in model["vocab"]:
        needed.add(model["vocab"][model["unk_token"]])
    return needed


def _smaller_tokenizer(state: dict[str, Any], new_ids: Mapping[int, int]) -> Tokenizer:
    from tokenizers import Tokenizer

    _renumber_frame(state, new_ids.__getitem__)
    for token in state["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    model = state["model"]
    if model["type"] == "Unigram":
        # In the order of the old ids, which is that of the new ones.
        model["vocab"] = [piece for number, piece in enumerate(model["vocab"]) if number in new_ids]
        if model["unk_id"] is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
    else:
        model["vocab"] = {
            piece: new_ids[number] for piece, number in model["vocab"].items() if number in new_ids
        }
    return Tokenizer.from_str(json.dumps(state))


def _renumber_frame(state: dict[str, Any], renumber: Callable[[int], int]) -> None:
    """Renumber what a tokenizer puts around a text: padding, and the post-processor's tokens."""
    if state.get("padding"):
        state["padding"]["pad_id"] = renumber(state["padding"]["pad_id"])
    processors = [state["post_processor"]] if state.get("post_processor") else []
    while processors:
        processor = processors.pop()
        match processor["type"]:
            case "Sequence":
                processors += processor["processors"]
            case "TemplateProcessing":
                for token in processor["special_tokens"].values():
                    token["ids"] = [renumber(number) for number in token["ids"]]
            case "BertProcessing" | "RobertaProcessing":
                for end in ("sep", "cls"):
                    token, number = processor[end]
                    processor[end] = [token, renumber(number)]
            case "ByteLevel":
                pass
            case other:
                raise ModelError(f"a tokenizer with a {other} post-processor cannot be trimmed")


def _smaller_model(model: Any, kept: NDArray[np.int64], new_ids: Mapping[int, int]) -> Any:
    """A copy of a model that shares all weights but the vocabulary's."""
    import torch

    trimmed = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
    rows = torch.from_numpy(kept)
    smaller: dict[int, Any] = {}
    for table in _tables(trimmed):
        for weight in (table.weight, getattr(table, "bias", None)):
            if weight is not None and id(weight) not in smaller:
                sliced = weight.detach()[rows.to(weight.device)]
                smaller[id(weight)] = torch.nn.Parameter(sliced, weight.requires_grad)
        if isinstance(table, torch.nn.Embedding):
            table.num_embeddings = len(kept)
            if table.padding_idx is not None:
                table.padding_idx = new_ids[table.padding_idx]
        else:
            table.out_features = len(kept)
    # Tables may be shared, and a bias may stand in two modules: every mention is replaced.
    for module in trimmed.modules():
        for name, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(weight) in smaller:
                setattr(module, name, smaller[id(weight)])
    for config in _configs(trimmed):
        for name, numbers in _named_ids(config):
            renumbered = [new_ids[number] for number in numbers]
            many = isinstance(getattr(config, name), list)
            setattr(config, name, renumbered if many else renumbered[0])
        if hasattr(config, "vocab_size"):
            config.vocab_size = len(kept)
    return trimmed


def _tables(model: Any) -> list[Any]:
    """The modules that have a row for every token: embeddings, and output layers."""
    import torch
    from transformers import PreTrainedModel

    tables: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            for table in (module.get_input_embeddings(), module.get_output_embeddings()):
                if table is None:
                    continue
                if not isinstance(table, torch.nn.Embedding | torch.nn.Linear):
                    raise ModelError(f"a {type(table).__name__} vocabulary cannot be trimmed")
                tables[id(table)] = table
    return list(tables.values())


def _configs(model: Any) -> list[Any]:
    """All configurations in a model; the halves of a T5 have copies of their own."""
    from transformers import GenerationConfig, PretrainedConfig

    found = {
        id(config): config
        for module in model.modules()
        for name in ("config", "generation_config")
        if isinstance(config := getattr(module, name, None), PretrainedConfig | GenerationConfig)
    }
    return list(found.values())


def _named_ids(config: Any) -> Iterator[tuple[str, list[int]]]:
    """The ids that a configuration names: ``eos_token_id`` and its like."""
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id") and value is not None:
            yield name, list(value) if isinstance(value, list) else [value]


def _count(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())
