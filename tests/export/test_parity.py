from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import build_encoder
from xqg_qdrant import Encoder, ModelError
from xqg_qdrant.export.parity import (
    Reference,
    Text,
    check_fp32,
    check_int8,
    sample_texts,
    unchanged,
)
from xqg_qdrant.models.encoder import Kind
from xqg_qdrant.models.manifest import TextKind

KINDS: dict[Kind, TextKind] = {"query": TextKind("", 64), "passage": TextKind("", 256)}


@pytest.fixture
def reference(tiny_encoder: Encoder) -> Reference:
    """What the tiny encoder itself makes of the samples, in the place of torch."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_encoder.manifest.folder / "tokenizer.json"))
    texts = sample_texts(tokenizer, KINDS)
    return Reference(
        texts,
        {
            kind: tiny_encoder.encode([e.text for e in some], kind).vectors
            for kind, some in texts.items()
        },
    )


def test_samples_are_passages_questions_of_each_language_and_texts_that_are_cut(
    reference: Reference,
) -> None:
    queries, passages = reference.texts["query"], reference.texts["passage"]
    assert (len(queries), len(passages), reference.size) == (121, 61, 182)
    assert Counter(each.passage for each in queries) == {-1: 1, **dict.fromkeys(range(60), 2)}
    for kind, some in reference.texts.items():
        assert len(some[-1].text) > KINDS[kind].max_length
    scripts = {text for each in queries for text in each.text if not text.isascii()}
    assert {"ن", "न", "の", "и", "的"} <= scripts


def test_an_encoder_agrees_with_itself(tiny_encoder: Encoder, reference: Reference) -> None:
    figures = check_fp32(tiny_encoder, reference)
    assert figures == {
        "texts": 182,
        "maximum_absolute_difference": pytest.approx(0, abs=1e-6),
        "minimum_cosine_to_torch": 1.0,
        "minimum_cosine_alone_to_batched": 1.0,
    }
    rounded = check_int8(tiny_encoder, reference)
    assert (rounded["mrr_at_10_loss"], rounded["same_first_passage"]) == (0.0, 1.0)


@pytest.mark.parametrize("check", [check_fp32, check_int8])
def test_another_model_is_noticed(
    reference: Reference, tmp_path: Path, check: type[object]
) -> None:
    other = Encoder.load(build_encoder(tmp_path / "other", seed=1), threads=1)
    with pytest.raises(ModelError, match=r"parity check failed, .* under .*measured: texts 182"):
        check(other, reference)


def test_a_length_or_a_prefix_that_differs_is_noticed(reference: Reference, tmp_path: Path) -> None:
    for name, change in (("length", {"query_length": 32}), ("prefix", {"query_prefix": "q: "})):
        other = Encoder.load(build_encoder(tmp_path / name, **change), threads=1)
        with pytest.raises(ModelError, match="minimum_cosine_to_torch under"):
            check_fp32(other, reference)


def test_one_wrong_vector_among_many_is_noticed(
    tiny_encoder: Encoder, reference: Reference
) -> None:
    queries = reference.vectors["query"].copy()
    queries[60] += np.float32(0.01)
    spoilt = replace(reference, vectors={**reference.vectors, "query": queries})
    with pytest.raises(ModelError, match="maximum_absolute_difference over"):
        check_fp32(tiny_encoder, spoilt)


def test_loss_of_retrieval_is_noticed(tiny_encoder: Encoder, reference: Reference) -> None:
    # As if torch found every passage.
    order = [each.passage for each in reference.texts["query"]]
    passages = reference.vectors["passage"]
    perfect = replace(reference, vectors={"query": passages[order], "passage": passages})
    with pytest.raises(ModelError, match="mrr_at_10_loss over"):
        check_int8(tiny_encoder, perfect)


def test_texts_of_the_same_tokens_are_kept(tiny_encoder: Encoder) -> None:
    from tokenizers import Tokenizer, normalizers

    before = Tokenizer.from_file(str(tiny_encoder.manifest.folder / "tokenizer.json"))
    after = Tokenizer.from_str(before.to_str())
    after.normalizer = normalizers.Lowercase()
    texts: dict[Kind, list[Text]] = {"query": [Text("mto", 0), Text("Mto", 1)], "passage": []}
    assert unchanged(texts, before, after) == {"query": [Text("mto", 0)], "passage": []}
