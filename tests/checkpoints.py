"""Tiny checkpoints, built here, for tests: real configs, weights and tokenizers as hub folders."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages, read_queries

CARD = """---
license: cc0-1.0
language:
- en
- sw
---
# A tiny model of random numbers
"""


def sample_texts() -> list[str]:
    """Multilingual text to make vocabularies of."""
    passages = [f"{each.title} {each.text}" for _, each in read_passages(samples.PASSAGES)]
    return passages + [each.text for _, each in read_queries(samples.QUERIES)]


def counts() -> tuple[Counter[str], Counter[str]]:
    """How often characters and words come in the sample."""
    texts = sample_texts()
    characters = Counter(c for text in texts for c in text if not c.isspace())
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    return characters, words


def build_bert(
    folder: Path,
    *,
    seed: int = 0,
    hidden_size: int = 32,
    layers: int = 2,
    positions: int = 128,
    lowercase: bool = False,
    words: int = 300,
    safe: bool = True,
    **config: Any,
) -> Path:
    """A BERT with a WordPiece vocabulary; pad id 0."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    characters, common = counts()
    alphabet = sorted({c for char in characters for c in (char, char.lower())})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *alphabet]
    pieces += [f"##{c}" for c in alphabet]
    listed = [word for word, _ in common.most_common(words) if len(word) > 1]
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys(pieces + listed))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True)
    BertTokenizerFast(
        tokenizer_object=tokenizer,
        do_lower_case=lowercase,
        strip_accents=False,
        model_max_length=positions,
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    model = BertModel(
        BertConfig(
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            max_position_embeddings=positions,
            **{
                "vocab_size": len(vocabulary),
                "num_attention_heads": 4,
                "intermediate_size": 2 * hidden_size,
                "initializer_range": 0.2,
                **config,
            },
        )
    )
    return _save(model, folder, safe)


def build_xlmr(
    folder: Path,
    *,
    seed: int = 0,
    hidden_size: int = 32,
    layers: int = 2,
    positions: int = 130,
    words: int = 300,
    **config: Any,
) -> Path:
    """An XLM-R with a Unigram vocabulary; pad id 1, on which its position ids hang."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"], words, last=["<mask>"])
    tokenizer.post_processor = _template("<s> $A </s>", {"<s>": 0, "</s>": 2})
    folder.mkdir(parents=True)
    XLMRobertaTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=positions - 2
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    model = XLMRobertaModel(
        XLMRobertaConfig(
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            max_position_embeddings=positions,
            type_vocab_size=1,
            **{
                "vocab_size": tokenizer.get_vocab_size(),
                "num_attention_heads": 4,
                "intermediate_size": 2 * hidden_size,
                "initializer_range": 0.2,
                "layer_norm_eps": 1e-5,
                **config,
            },
        )
    )
    return _save(model, folder)


def build_mt5(
    folder: Path,
    *,
    seed: int = 0,
    d_model: int = 32,
    d_kv: int = 12,
    heads: int = 4,
    layers: int = 2,
    words: int = 300,
    t5: bool = False,
    **config: Any,
) -> Path:
    """An mT5, or a T5, whose head size is not ``d_model / heads``; pad id 0."""
    import torch
    from transformers import (
        MT5Config,
        MT5ForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
        T5TokenizerFast,
    )

    tokenizer = _unigram(["<pad>", "</s>", "<unk>"], words)
    tokenizer.post_processor = _template("$A </s>", {"</s>": 1})
    folder.mkdir(parents=True)
    T5TokenizerFast(
        tokenizer_object=tokenizer, extra_ids=0, additional_special_tokens=[]
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config_class, model_class = (
        (T5Config, T5ForConditionalGeneration) if t5 else (MT5Config, MT5ForConditionalGeneration)
    )
    model = model_class(
        config_class(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=d_model,
            d_kv=d_kv,
            d_ff=2 * d_model,
            num_layers=layers,
            num_heads=heads,
            decoder_start_token_id=0,
            **({} if t5 else {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
            **config,
        )
    )
    return _save(model, folder)


def build_sentence_transformer(
    folder: Path,
    *,
    base: str = "bert",
    pooling: str = "cls_token",
    dense: int | None = 24,
    activation: str = "torch.nn.modules.activation.Tanh",
    normalize: bool = True,
    max_seq_length: int = 48,
    prompts: dict[str, str] | None = None,
    seed: int = 0,
    **model: Any,
) -> Path:
    """A sentence-transformers folder, as LaBSE has it: Transformer, Pooling, Dense, Normalize."""
    import torch
    from safetensors.torch import save_file

    build = {"bert": build_bert, "xlmr": build_xlmr}[base]
    build(folder, seed=seed, **model)
    hidden = json.loads((folder / "config.json").read_text())["hidden_size"]
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modes = dict.fromkeys(
        ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken"), False
    )
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden,
            **{f"pooling_mode_{mode}": mode == pooling or on for mode, on in modes.items()},
        },
    )
    if dense:
        modules.append(("Dense", "2_Dense"))
        (folder / "2_Dense").mkdir()
        write_json(
            folder / "2_Dense" / "config.json",
            {
                "in_features": hidden,
                "out_features": dense,
                "bias": True,
                "activation_function": activation,
            },
        )
        torch.manual_seed(seed + 1)
        linear = torch.nn.Linear(hidden, dense)
        save_file(
            {f"linear.{name}": value.data for name, value in linear.named_parameters()},
            folder / "2_Dense" / "model.safetensors",
        )
    if normalize:
        modules.append(("Normalize", "3_Normalize"))
    write_json(
        folder / "modules.json",
        [
            {
                "idx": n,
                "name": str(n),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for n, (kind, path) in enumerate(modules)
        ],
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_seq_length, "do_lower_case": False},
    )
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _unigram(first: list[str], words: int, *, last: list[str] | None = None) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    characters, common = counts()
    weights = Counter(dict.fromkeys(characters, 1))
    weights.update(characters)
    for word, number in common.most_common(words):
        weights[f"▁{word}"] += number
    weights["▁"] += sum(common.values())
    total = sum(weights.values())
    scored = [(piece, math.log(number / total)) for piece, number in sorted(weights.items())]
    pieces = [(piece, 0.0) for piece in first] + scored + [(piece, 0.0) for piece in last or []]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=first.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*first, *(last or [])])
    return tokenizer


def _template(single: str, tokens: dict[str, int]) -> Any:
    from tokenizers import processors

    return processors.TemplateProcessing(single=single, special_tokens=list(tokens.items()))


def _save(model: Any, folder: Path, safe: bool = True) -> Path:
    model.eval().save_pretrained(folder, safe_serialization=safe)
    (folder / "README.md").write_text(CARD)
    return folder
