from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import checkpoints
from xqg_qdrant.corpus import samples
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.export.checkpoint import open_checkpoint
from xqg_qdrant.export.generator import GeneratorOptions, export_generator
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator, Prompt
from xqg_qdrant.models.manifest import read_generator_manifest

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

PROMPT = "Generate a {language} question for this passage: {title} {passage}"
OPTIONS = GeneratorOptions(prompt=PROMPT, prompt_length=48, languages=("ar", "sw"))
FAMILIES: dict[str, dict[str, Any]] = {
    "mt5": {},
    "mt5-many-heads": {"d_kv": 7, "heads": 6},
    "mt5-one-layer": {"layers": 1},
    "t5": {"t5": True, "initializer_factor": 4.0},
    "t5-gated": {"t5": True, "initializer_factor": 4.0, "feed_forward_proj": "gated-gelu"},
    "t5-untied": {"t5": True, "tie_word_embeddings": False},
    "loud": {"initializer_factor": 2.0},
}


def build(folder: Path, family: str) -> Path:
    return checkpoints.build_mt5(folder / family, **FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_t5_writes_torchs_texts(tmp_path: Path, family: str) -> None:
    folder = build(tmp_path, family)
    exported = export_generator(open_checkpoint(str(folder)), tmp_path / "out", options=OPTIONS)
    parity = exported.manifest["parity"]
    assert parity["texts_the_same"] == parity["texts"] == 8
    assert parity["tokens_that_differ"] == 0
    generator = Generator.load(tmp_path / "out")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    prompts = [Prompt("Generate a Swahili question: the river Niger", "a"), Prompt("Oil?", "b")]
    texts = generator.generate(prompts, count=1, decoding=Decoding("greedy", max_length=20))
    for prompt, (text,) in zip(prompts, texts, strict=True):
        ids = torch.tensor([generator._tokenizer.encode(prompt.text).ids])
        found = model.generate(input_ids=ids, do_sample=False, max_new_tokens=20)[0].tolist()
        decoded = generator._tokenizer.decode(found, skip_special_tokens=True)
        assert text.text == decoded.strip()


def test_layers_of_encoder_and_decoder_may_differ_in_number(tmp_path: Path) -> None:
    folder = checkpoints.build_mt5(tmp_path / "mt5", layers=1, num_decoder_layers=3)
    exported = export_generator(open_checkpoint(str(folder)), tmp_path / "out", options=OPTIONS)
    assert exported.manifest["layers"] == 3
    assert exported.manifest["parity"]["texts_the_same"] == 8


def test_a_preset_is_found_by_the_models_name(tmp_path: Path) -> None:
    folder = checkpoints.build_mt5(tmp_path / "xor-tydi-docTquery-mt5-base")
    export_generator(open_checkpoint(str(folder)), tmp_path / "out")
    manifest = read_generator_manifest(tmp_path / "out")
    assert manifest.prompt == PROMPT
    assert manifest.languages == ("ar", "bn", "fi", "ja", "ko", "ru", "te")
    assert manifest.max_length == 256
    assert manifest.source == {
        "model": "xor-tydi-docTquery-mt5-base", "revision": None, "preset": "xqg",
    }  # fmt: skip


def test_options_go_before_the_preset(tiny_mt5_checkpoint: Path, tmp_path: Path) -> None:
    options = GeneratorOptions(prompt="ask: {passage}", prompt_length=20, languages=("hau",))
    export_generator(
        open_checkpoint(str(tiny_mt5_checkpoint)), tmp_path / "out", preset="xqg", options=options
    )
    manifest = read_generator_manifest(tmp_path / "out")
    assert (manifest.prompt, manifest.max_length) == ("ask: {passage}", 20)
    assert manifest.languages == ("ha",)


def test_int8_is_smaller_and_its_loss_is_told(tiny_generators: dict[str, Path]) -> None:
    exact, rounded = (read_generator_manifest(tiny_generators[each]) for each in ("fp32", "int8"))
    assert rounded.precision == "int8"
    assert rounded.fingerprint != exact.fingerprint
    assert 0 < rounded.parity["mean_log_probability_difference"] < 0.25
    assert rounded.parity["before_rounding"] == exact.parity
    for name in ("encoder.onnx", "decoder.onnx"):
        sizes = [(tiny_generators[each] / name).stat().st_size for each in ("int8", "fp32")]
        assert sizes[0] < sizes[1]


def test_a_trimmed_generator_has_a_round_number_of_tokens(
    tiny_mt5_checkpoint: Path, tmp_path: Path
) -> None:
    """Then the best logits are found group by group; they are the same ones."""
    exported = export_generator(
        open_checkpoint(str(tiny_mt5_checkpoint)),
        tmp_path / "out",
        options=OPTIONS,
        trim_vocab=f"sw,{samples.PASSAGES}",
    )
    assert exported.manifest["vocabulary_size"] % 128 == 0
    assert exported.manifest["vocabulary"]["tokens"] < 1_638
    assert exported.manifest["parity"]["texts_the_same"] == 8
    texts = Generator.load(tmp_path / "out").generate(
        [Prompt("Generate a Swahili question: Niger", "k")], count=20, decoding=Decoding(top_k=300)
    )
    assert len({each.text for each in texts[0]}) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": None}, "how it was prompted in training is not known: give --prompt"),
        ({"options": GeneratorOptions(prompt="{language}")}, "has no {passage} in it"),
        ({"options": GeneratorOptions(PROMPT, prompt_length=1)}, "prompt_length is 1"),
        ({"preset": "labse"}, "no generator preset 'labse'"),
        ({"precision": "int4"}, "precision 'int4' is not one of"),
        ({"trim_vocab": "xx-not-a-language"}, "xx-not-a-language"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    tiny_mt5_checkpoint: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    checkpoint = open_checkpoint(str(tiny_mt5_checkpoint))
    with pytest.raises(InputError, match=message):
        export_generator(checkpoint, tmp_path / "out", **{"options": OPTIONS, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_is_no_generator(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(checkpoints.build_bert(tmp_path / "bert")))
    with pytest.raises(InputError, match="bert is no generator that can be exported"):
        export_generator(checkpoint, tmp_path / "out", options=OPTIONS)


def test_a_failed_parity_check_leaves_nothing(
    tiny_mt5_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xqg_qdrant.export import t5_graphs

    class Wrong(t5_graphs.DecoderGraph):
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            self.bias_by_distance = self.bias_by_distance.flip(0).contiguous()

    monkeypatch.setattr(t5_graphs, "DecoderGraph", Wrong)
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelError, match="parity check failed: what was exported writes other"):
        export_generator(
            open_checkpoint(str(tiny_mt5_checkpoint)), tmp_path / "models" / "out", options=OPTIONS
        )
    assert list((tmp_path / "models").iterdir()) == []


def test_int8_that_costs_too_much_is_refused(
    tiny_mt5_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xqg_qdrant.export.quantize.WEIGHT_LEVELS", 1)
    with pytest.raises(ModelError, match="int8 costs this model too much"):
        export_generator(
            open_checkpoint(str(tiny_mt5_checkpoint)),
            tmp_path / "out",
            options=OPTIONS,
            precision="int8",
        )
    assert not (tmp_path / "out").exists()


def test_the_folder_says_what_it_is(tiny_generators: dict[str, Path]) -> None:
    row = json.loads((tiny_generators["int8"] / "manifest.json").read_text())
    assert row["kind"] == "generator"
    assert row["license"] == "cc0-1.0"
    assert set(row["files"]) == {"encoder.onnx", "decoder.onnx", "tokenizer.json"}
    assert row["decoder_start_token_id"] == row["pad_token_id"] == 0
    assert row["eos_token_id"] == 1


def test_weights_beside_the_graph_are_loaded(
    tiny_mt5_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of models over two gigabytes, the small limit apart."""
    monkeypatch.setattr("xqg_qdrant.export.folder.INLINE_BYTES", 10_000)
    exported = export_generator(
        open_checkpoint(str(tiny_mt5_checkpoint)), tmp_path / "out", options=OPTIONS
    )
    assert {"encoder.onnx.data", "decoder.onnx.data"} <= set(exported.manifest["files"])
    Generator.load(tmp_path / "out")
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "out", moved)
    Generator.load(moved)
    data = bytearray((moved / "decoder.onnx.data").read_bytes())
    data[100] ^= 1
    (moved / "decoder.onnx.data").write_bytes(data)
    with pytest.raises(ModelError, match=r"decoder\.onnx\.data: its sha256"):
        Generator.load(moved)
