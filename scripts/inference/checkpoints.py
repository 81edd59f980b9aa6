"""Checkpoints of the shapes that are measured, of random numbers, as hub folders.

Speed does not hang on what weights say, only on their shapes. All use the tokenizer of a bundled
model: of it only the numbers of tokens matter, and its vocabulary is smaller than the models'.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from inference import texts
from inference.timing import progress
from xqg_qdrant.models.manifest import TOKENIZER_FILE, find_model

BUNDLED = "mini"
PASSAGE_TOKENS = 256
"""Longer passages are cut, by every system."""

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
PAD, UNK, END = 0, 1, 3
WHOLE, TRIMMED = "mt5-small", "mt5-small-trimmed"


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """An encoder.

    Attributes:
        name: of its folder.
        label: as tables have it.
        architecture: ``bert`` or ``xlm-roberta``.
        vocabulary: rows of the embedding table.
        hidden: length of token states and of vectors.
        inner: of the feed-forward layers.
        layers: of the transformer.
        heads: of attention.
    """

    name: str
    label: str
    architecture: str
    vocabulary: int
    hidden: int
    inner: int
    layers: int = 12
    heads: int = 12


ENCODERS = {
    shape.name: shape
    for shape in (
        EncoderShape("mbert", "mBERT-base", "bert", 119_547, 768, 3_072),
        EncoderShape("xlmr", "XLM-R-base", "xlm-roberta", 250_002, 768, 3_072),
        EncoderShape("minilm", "MiniLM-L12 multilingual", "bert", 250_037, 384, 1_536),
    )
}
TINY_ENCODER = EncoderShape("tiny", "tiny BERT", "bert", 64_000, 48, 96, layers=2, heads=4)


@dataclass(frozen=True, slots=True)
class GeneratorShape:
    """An mT5.

    Attributes:
        vocabulary: rows of the embedding table and of the output layer.
        kept: tokens of the trimmed one, about.
        d_model: length of token states.
        d_kv: of a head of attention; not ``d_model / heads``, as in mt5-small.
        d_ff: of the feed-forward layers.
        layers: of encoder and decoder.
        heads: of attention.
    """

    vocabulary: int = 250_112
    kept: int = 32_640
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 1_024
    layers: int = 8
    heads: int = 6


GENERATOR = GeneratorShape()
TINY_GENERATOR = GeneratorShape(65_000, 2_000, 48, 20, 96, layers=2, heads=3)


def made(folder: Path, build: Callable[[Path], object], *, fresh: bool = False) -> Path:
    """A folder that is built unless it is there, whole or not at all."""
    if fresh or not folder.is_dir():
        progress(f"making {folder}")
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        build(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder


def bundled_tokenizer() -> Tokenizer:
    """The tokenizer that all share."""
    tokenizer = Tokenizer.from_file(str(find_model(BUNDLED) / TOKENIZER_FILE))
    tokenizer.add_special_tokens(list(SPECIAL.values()))
    return tokenizer


def build_encoder(shape: EncoderShape, folder: Path) -> None:
    """A sentence-transformers folder, mean pooling and length one, which is a hub folder too."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import (
        BertConfig,
        BertModel,
        PreTrainedTokenizerFast,
        XLMRobertaConfig,
        XLMRobertaModel,
    )

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "pad_token_id": PAD,
    }
    if shape.architecture == "bert":
        model = BertModel(BertConfig(max_position_embeddings=512, **sizes))
    else:
        config = XLMRobertaConfig(max_position_embeddings=514, type_vocab_size=1, **sizes)
        model = XLMRobertaModel(config)
    plain = folder.with_name(f"{folder.name}.plain")
    model.save_pretrained(plain)
    PreTrainedTokenizerFast(
        tokenizer_object=bundled_tokenizer(), model_max_length=PASSAGE_TOKENS, **SPECIAL
    ).save_pretrained(plain)
    transformer = models.Transformer(str(plain), max_seq_length=PASSAGE_TOKENS)
    pooling = models.Pooling(shape.hidden, "mean")
    modules = [transformer, pooling, models.Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    shutil.rmtree(plain)


def build_generator(shape: GeneratorShape, folder: Path) -> None:
    """An mT5 as a hub folder."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.d_model,
        d_kv=shape.d_kv,
        d_ff=shape.d_ff,
        num_layers=shape.layers,
        num_decoder_layers=shape.layers,
        num_heads=shape.heads,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
        tie_word_embeddings=False,
    )
    tokenizer = bundled_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B [SEP]", special_tokens=[("[SEP]", END)]
    )
    save_generator(MT5ForConditionalGeneration(config).eval(), tokenizer, folder)


def build_trimmed(shape: GeneratorShape, whole: Path, prompts: int, folder: Path) -> None:
    """The same mT5 with fewer tokens, those of the prompts among them: prompts stay as long."""
    from transformers import AutoModelForSeq2SeqLM

    from xqg_qdrant.export.checkpoint import load_model, open_checkpoint
    from xqg_qdrant.export.generator import TOKEN_GROUP
    from xqg_qdrant.export.trim import trim

    checkpoint = open_checkpoint(str(whole))
    asked = checkpoint.tokenizer.encode_batch(texts.prompts(checkpoint.tokenizer, prompts))
    keep = {*range(shape.kept), *(token for each in asked for token in each.ids)}
    model = load_model(checkpoint, AutoModelForSeq2SeqLM)
    trimmed = trim(model, checkpoint.tokenizer, keep, multiple=TOKEN_GROUP)
    save_generator(trimmed.model, trimmed.tokenizer, folder)


def save_generator(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Save model and tokenizer as a hub folder."""
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        eos_token="[SEP]",
        **SPECIAL,
    ).save_pretrained(folder)
