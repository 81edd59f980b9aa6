from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import checkpoints
from xqg_qdrant import Client, Encoder, InputError, ModelError, Passage, StorageError
from xqg_qdrant.export import folder as folders
from xqg_qdrant.export import parity
from xqg_qdrant.export.checkpoint import open_checkpoint
from xqg_qdrant.export.encoder import export_encoder
from xqg_qdrant.export.folder import Exported
from xqg_qdrant.export.settings import EncoderOptions

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")
pytest.importorskip("onnxscript", reason="needs the export extra")

TEXTS = [
    "Nile",
    "The Nile flows north into the Mediterranean, and the Rhine flows to the North Sea.",
    "Mto Nile unaingia bahari gani?",
    "من أي بلد ينبع نهر النيجر؟",
    "ニジェール川の水源はどこにありますか。",
    "Wie lang ist der Niger?",
    "Откуда? " * 60,
]


def export(folder: Path, output: Path, **arguments: Any) -> Exported:
    options = {
        key: arguments.pop(key)
        for key in list(arguments)
        if key in EncoderOptions.__dataclass_fields__
    }
    return export_encoder(
        open_checkpoint(str(folder)), output, options=EncoderOptions(**options), **arguments
    )


def by_transformers(
    folder: Path, model: Any, pooling: str, *, normalize: bool, length: int
) -> NDArray[np.float32]:
    """Vectors as a user of transformers makes them: one padded batch."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        states = model.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"]
    if pooling == "cls":
        vectors = states[:, 0]
    elif pooling == "mean":
        vectors = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    else:
        vectors = states[torch.arange(len(TEXTS)), mask.sum(1) - 1]
    if normalize:
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
    return np.asarray(vectors.numpy())


@pytest.mark.parametrize(
    ("architecture", "pooling", "normalize"),
    [
        ("bert", "cls", False),
        ("bert", "last", True),
        ("xlmr", "mean", True),
        ("xlmr", "cls", False),
        ("mt5", "mean", True),
    ],
)
def test_vectors_are_those_of_transformers(
    architecture: str,
    pooling: Any,
    normalize: bool,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = request.getfixturevalue(architecture)
    kind = {"mt5": "MT5EncoderModel"}.get(architecture, "AutoModel")
    model = getattr(transformers, kind).from_pretrained(folder)
    exported = export(
        folder,
        tmp_path / "mine",
        pooling=pooling,
        normalize=normalize,
        query_length=40,
        passage_length=100,
    )
    encoder = Encoder.load(exported.folder, threads=1)
    for length, encode in ((40, encoder.encode_queries), (100, encoder.encode_passages)):
        expected = by_transformers(folder, model, pooling, normalize=normalize, length=length)
        np.testing.assert_allclose(encode(TEXTS), expected, rtol=1e-4, atol=1e-5)
        alone = np.concatenate([encode([text]) for text in TEXTS])
        np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)
    manifest = exported.manifest
    assert manifest["parity"]["minimum_cosine_to_torch"] > 0.99999
    assert manifest["parity"]["texts"] == 182
    assert manifest["pooling"] == pooling
    assert manifest["similarity"] == ("cosine" if normalize else "dot")
    assert manifest["languages"] == ["en", "sw"]
    assert manifest["license"] == "cc0-1.0"
    assert manifest["source"] == {"model": folder.name, "revision": None}


@pytest.mark.parametrize("base", ["bert", "xlmr"])
def test_vectors_of_a_sentence_transformers_folder_are_those_of_sentence_transformers(
    base: str, tmp_path: Path
) -> None:
    package = pytest.importorskip("sentence_transformers", reason="the reference here")
    folder = checkpoints.build_sentence_transformer(
        tmp_path / "checkpoint",
        base=base,
        pooling="cls_token" if base == "bert" else "mean_tokens",
        prompts={"query": "query: ", "document": "passage: "},
    )
    encoder = Encoder.load(export(folder, tmp_path / "mine").folder, threads=1)
    reference = package.SentenceTransformer(str(folder), device="cpu")
    for ours, theirs in (
        (encoder.encode_queries, reference.encode_query),
        (encoder.encode_passages, reference.encode_document),
    ):
        np.testing.assert_allclose(ours(TEXTS), theirs(TEXTS), atol=1e-5)
    assert encoder.dimension == 24


def decoder() -> Any:
    """As in Qwen3-Embedding: a decoder, whose last token makes the vector."""
    return transformers.Qwen3Model(
        transformers.Qwen3Config(
            vocab_size=3000,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=64,
            max_position_embeddings=128,
            pad_token_id=0,
            initializer_range=0.2,
        )
    )


def branching() -> Any:
    """Whose graph has branches with weights of their own."""
    return transformers.DebertaV2Model(
        transformers.DebertaV2Config(
            vocab_size=3000,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,
            pos_att_type=["p2c", "c2p"],
            relative_attention=True,
            initializer_range=0.2,
        )
    )


@pytest.mark.parametrize(("build", "pooling"), [(decoder, "last"), (branching, "cls")])
def test_other_architectures(build: Any, pooling: Any, bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "other"))
    torch.manual_seed(0)
    model = build().eval()
    model.save_pretrained(folder)
    how: dict[str, Any] = {"pooling": pooling, "normalize": True, "passage_length": 64}
    exported = export(folder, tmp_path / "mine", precision="int8", **how)
    expected = by_transformers(folder, model, pooling, normalize=True, length=64)
    found = Encoder.load(exported.folder, threads=1).encode_passages(TEXTS)
    assert (found * expected).sum(axis=1).min() > 0.98
    assert exported.manifest["parity"]["before_rounding"]["minimum_cosine_to_torch"] > 0.99999


def test_texts_are_lowered_where_sentence_transformers_lowers_them(tmp_path: Path) -> None:
    folder = checkpoints.build_sentence_transformer(tmp_path / "checkpoint")
    checkpoints.write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": True}
    )
    encoder = Encoder.load(export(folder, tmp_path / "mine").folder, threads=1)
    same = encoder.encode_queries(["Wapi MTO Nile?", "wapi mto nile?"])
    np.testing.assert_array_equal(same[0], same[1])


def test_labse_without_its_modules_uses_the_pooler(bert: Path, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(bert)
    encoder = Encoder.load(export(bert, tmp_path / "mine", preset="labse").folder, threads=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    with torch.no_grad():
        expected = model(**tokenizer(TEXTS[0], return_tensors="pt")).pooler_output[0].numpy()
    np.testing.assert_allclose(
        encoder.encode_queries(TEXTS[:1])[0], expected / np.linalg.norm(expected), atol=1e-5
    )


def test_labse_without_the_weights_of_its_pooler_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "LaBSE"))
    transformers.BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"2 are missing .* such as pooler\.dense\.bias"):
        export(folder, tmp_path / "mine")
    export(folder, tmp_path / "mine", preset="xor-tydi")


def test_the_whole_way_from_a_checkpoint_to_a_search(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert-base-multilingual-cased-xor-tydi"))
    exported = export(folder, tmp_path / "models" / "mbert", precision="int8")
    passages = [Passage("nile", "The Nile flows north."), Passage("oil", "Oil is pumped here.")]
    with Client(tmp_path / "library", encoder=Encoder.load(exported.folder)) as client:
        client.ingest("rivers", passages)
        hits = client.search("rivers", "The Nile flows north.", lang="en")
    assert {hit.id for hit in hits} == {"nile", "oil"}


def test_int8_comes_with_what_it_costs(xlmr: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"pooling": "mean", "normalize": True, "passage_length": 64}
    exported = export(xlmr, tmp_path / "int8", precision="int8", **how)
    plain = Encoder.load(export(xlmr, tmp_path / "fp32", **how).folder, threads=1)
    measured = exported.manifest["parity"]
    assert measured["before_rounding"]["minimum_cosine_to_torch"] > 0.99999
    assert 0.9 < measured["minimum_cosine_to_torch"] <= measured["mean_cosine_to_torch"] < 1
    assert abs(measured["mrr_at_10_loss"]) < 0.05
    assert 0.5 < measured["same_first_passage"] <= 1
    assert exported.manifest["precision"] == "int8"
    encoder = Encoder.load(exported.folder, threads=1)
    together = encoder.encode_passages(TEXTS)
    alone = np.concatenate([encoder.encode_passages([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    cosines = (together * plain.encode_passages(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.98


def test_the_same_checkpoint_makes_the_same_files(bert: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"pooling": "cls", "normalize": True, "passage_length": 32}
    one, two = (
        export(bert, tmp_path / name, name="same", precision="int8", **how).manifest
        for name in ("one", "two")
    )
    assert one == two


def test_a_large_model_keeps_its_weights_beside(
    xlmr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xqg_qdrant.export import tracing

    how: dict[str, Any] = {"pooling": "mean", "normalize": True, "passage_length": 64}
    small = Encoder.load(export(xlmr, tmp_path / "small", **how).folder, threads=1)
    for module in (folders, tracing):
        monkeypatch.setattr(module, "INLINE_BYTES", 100_000)
    for precision in ("fp32", "int8"):
        exported = export(xlmr, tmp_path / precision, precision=precision, **how)
        assert list(exported.manifest["files"]) == [
            "model.onnx",
            "model.onnx.data",
            "tokenizer.json",
        ]
        files = {each.name for each in exported.folder.iterdir()}
        assert files == {*exported.manifest["files"], "manifest.json"}
        found = Encoder.load(exported.folder, threads=1).encode_passages(TEXTS)
        tolerance = 1e-6 if precision == "fp32" else 0.05
        np.testing.assert_allclose(found, small.encode_passages(TEXTS), atol=tolerance)


def test_a_trimmed_encoder_makes_the_same_vectors_of_texts_it_keeps(
    xlmr: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"pooling": "mean", "normalize": True, "passage_length": 64}
    full = Encoder.load(export(xlmr, tmp_path / "full", **how).folder, threads=1)
    exported = export(xlmr, tmp_path / "trimmed", trim_vocab="sw,en", **how)
    vocabulary = exported.manifest["vocabulary"]
    assert vocabulary["trimmed_to"] == "sw,en"
    assert vocabulary["tokens"] < vocabulary["tokens_before"]
    assert 60 < exported.manifest["parity"]["texts"] < 182
    trimmed = Encoder.load(exported.folder, threads=1)
    np.testing.assert_allclose(
        trimmed.encode_passages(TEXTS[:3]), full.encode_passages(TEXTS[:3]), atol=1e-5
    )


def test_a_vocabulary_of_a_corpus_that_no_sample_fits(bert: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("نهر\n", encoding="utf-8")
    exported = export(
        bert,
        tmp_path / "mine",
        pooling="cls",
        normalize=True,
        query_prefix="Q: ",
        trim_vocab=str(corpus),
    )
    assert exported.manifest["parity"]["texts"] == 182
    vocabulary = exported.manifest["vocabulary"]
    assert vocabulary["tokens"] < vocabulary["tokens_before"] / 10


@pytest.mark.parametrize(
    ("threshold", "precision", "message"),
    [
        ("LEAST_COSINE", "fp32", "differs from the checkpoint in torch: minimum_cosine_to_torch"),
        ("LEAST_MEAN_COSINE_INT8", "int8", "int8 costs this model too much; .*fp32: mean_cosine"),
    ],
)
def test_a_failed_check_fails_the_export(
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threshold: str,
    precision: Any,
    message: str,
) -> None:
    monkeypatch.setattr(parity, threshold, 1.1)
    with pytest.raises(ModelError, match=message):
        export(bert, tmp_path / "mine", precision=precision, pooling="cls", normalize=True)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_fail_the_export(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "broken"))
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="not finite"):
        export(folder, tmp_path / "mine", pooling="cls", normalize=True)
    assert not (tmp_path / "mine").exists()


def test_a_full_disk_fails_the_export(bert: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, free.f_bavail * free.f_frsize - 300_000)
    with pytest.raises(StorageError, match="make room"):
        export(bert, small_disk / "mine", pooling="cls", normalize=True)
    assert list(small_disk.iterdir()) == [filler]


def test_an_export_does_not_replace_a_model_unasked(bert: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "manifest.json").write_text("old")
    how: dict[str, Any] = {"pooling": "cls", "normalize": True, "passage_length": 16}
    with pytest.raises(InputError, match="is there already"):
        export(bert, target, **how)
    assert export(bert, target, force=True, name="new", **how).manifest["name"] == "new"
    assert json.loads((target / "manifest.json").read_text())["name"] == "new"


def test_precisions_are_checked(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision 'int4' is not one of fp32, int8"):
        export(bert, tmp_path / "mine", precision="int4", pooling="cls", normalize=True)
