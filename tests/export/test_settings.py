from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import checkpoints
from xqg_qdrant import InputError, ModelError
from xqg_qdrant.export import presets
from xqg_qdrant.export.checkpoint import open_checkpoint
from xqg_qdrant.export.settings import EncoderOptions, EncoderSettings, resolve_settings
from xqg_qdrant.models.manifest import TextKind

torch = pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("transformers", reason="needs the export extra")


def resolve(folder: Path, *, preset: str | None = None, **options: Any) -> EncoderSettings:
    return resolve_settings(open_checkpoint(str(folder)), EncoderOptions(**options), preset=preset)


@pytest.fixture
def sentences(tmp_path: Path) -> Callable[..., Path]:
    """Builds sentence-transformers folders."""

    def build(name: str = "sentences", **options: Any) -> Path:
        return checkpoints.build_sentence_transformer(tmp_path / name, **options)

    return build


def named(folder: Path, tmp_path: Path, name: str) -> Path:
    """A copy of another name."""
    return Path(shutil.copytree(folder, tmp_path / name))


def test_how_vectors_are_made_is_never_guessed(bert: Path) -> None:
    with pytest.raises(InputError, match="give --pooling cls, mean or last and --normalize or"):
        resolve(bert)
    with pytest.raises(InputError, match="give --normalize or --no-normalize, as its makers say"):
        resolve(bert, pooling="mean")
    with pytest.raises(InputError, match="give --pooling cls, mean or last, as its makers say"):
        resolve(bert, normalize=True)
    with pytest.raises(InputError, match="pooling 'max' is not one of cls, mean, last"):
        resolve(bert, pooling="max", normalize=True)


def test_what_the_user_says(bert: Path) -> None:
    settings = resolve(bert, pooling="mean", normalize=False, query_prefix="q: ", query_length=20)
    assert (settings.pooling, settings.similarity, settings.preset) == ("mean", "dot", None)
    assert settings.query == TextKind("q: ", 20)
    assert settings.passage == TextKind("", 128)


def test_the_paper_s_encoder_goes_by_its_name(bert: Path, tmp_path: Path) -> None:
    folder = named(bert, tmp_path, "bert-base-multilingual-cased-xor-tydi")
    settings = resolve(folder)
    assert (settings.pooling, settings.similarity) == ("cls", "dot")
    assert (settings.query, settings.passage) == (TextKind("", 32), TextKind("", 128))
    assert settings.preset == "xor-tydi"
    assert resolve(folder, pooling="mean", passage_length=64).passage == TextKind("", 64)


def test_prefixes_of_e5_come_with_its_name_beside_its_modules(
    sentences: Callable[..., Path],
) -> None:
    folder = sentences("multilingual-e5-small", pooling="mean_tokens", dense=None, base="xlmr")
    settings = resolve(folder)
    assert settings.query == TextKind("query: ", 48)
    assert settings.passage == TextKind("passage: ", 48)
    assert (settings.pooling, settings.similarity) == ("mean", "cosine")


def test_a_folder_s_own_modules_go_before_a_preset_of_its_name_and_behind_one_asked_for(
    sentences: Callable[..., Path],
) -> None:
    folder = sentences("multilingual-e5-small", pooling="cls_token", prompts={"query": "Q: "})
    assert resolve(folder).pooling == "cls"
    assert resolve(folder).query.prefix == "Q: "
    assert resolve(folder, preset="multilingual-e5").pooling == "mean"
    assert resolve(folder, preset="multilingual-e5").query.prefix == "query: "
    assert resolve(folder, preset="multilingual-e5", query_prefix="").query.prefix == ""


def test_lengths_keep_to_the_positions_that_there_are(
    bert: Path, xlmr: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"pooling": "cls", "normalize": True}
    assert resolve(xlmr, **how).passage.max_length == 128  # of 130 rows: two come before
    assert resolve(xlmr, **how, passage_length=128).passage.max_length == 128
    for length in (1, 129):
        with pytest.raises(InputError, match="takes from 2 to 128 tokens of a text"):
            resolve(xlmr, **how, passage_length=length)
    assert resolve(named(xlmr, tmp_path, "bge-m3")).passage.max_length == 128
    assert resolve(named(bert, tmp_path, "mdpr-tied-pft-msmarco")).query.max_length == 128


def test_a_model_without_a_table_of_positions_takes_long_texts(mt5: Path) -> None:
    settings = resolve(mt5, pooling="mean", normalize=True, passage_length=2000)
    assert (settings.query.max_length, settings.passage.max_length) == (512, 2000)
    assert type(settings.transformer).__name__ == "MT5EncoderModel"


def test_unknown_presets_are_listed(bert: Path) -> None:
    with pytest.raises(InputError, match="no encoder preset 'e6': there are xor-tydi, mult"):
        resolve(bert, preset="e6")


def test_presets_are_found_by_hub_id_and_by_the_tail_of_a_folder() -> None:
    for model in ("intfloat/multilingual-e5-large", "/models/multilingual-e5-base/", "LaBSE"):
        assert presets.find_encoder_preset(model) is not None
    assert presets.find_encoder_preset("intfloat/e5-large") is None
    found = presets.find_generator_preset("ielabgroup/xor-tydi-docTquery-mt5-large")
    assert found is presets.generator_preset("xqg")


def test_all_parts_of_a_sentence_transformers_folder_are_read(
    sentences: Callable[..., Path],
) -> None:
    prompts = {"query": "Q: ", "document": "D: ", "sts": "S: "}
    settings = resolve(sentences(pooling="lasttoken", max_seq_length=40, prompts=prompts))
    assert (settings.pooling, settings.similarity) == ("last", "cosine")
    assert settings.query == TextKind("Q: ", 40)
    assert settings.passage == TextKind("D: ", 40)
    ((linear, activation),) = settings.heads
    assert linear.weight.shape == (24, 32)
    assert type(activation) is torch.nn.Tanh
    assert not settings.lowercase


def test_modes_of_pooling_as_newer_releases_write_them(sentences: Callable[..., Path]) -> None:
    folder = sentences()
    row = {"embedding_dimension": 32, "pooling_mode": "lasttoken", "include_prompt": True}
    checkpoints.write_json(folder / "1_Pooling" / "config.json", row)
    assert resolve(folder).pooling == "last"


def test_a_default_prompt_is_for_both_kinds(sentences: Callable[..., Path]) -> None:
    folder = sentences(prompts={"all": "A: "})
    path = folder / "config_sentence_transformers.json"
    row = json.loads(path.read_text()) | {"default_prompt_name": "all"}
    checkpoints.write_json(path, row)
    settings = resolve(folder)
    assert (settings.query.prefix, settings.passage.prefix) == ("A: ", "A: ")


def test_without_a_normalize_module_the_similarity_decides(
    sentences: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = sentences(normalize=False)
    assert resolve(folder).normalize
    assert "give --no-normalize if they are meant for the dot product" in caplog.text
    for similarity, normalize in (("cosine", True), ("dot", False)):
        checkpoints.write_json(
            folder / "config_sentence_transformers.json", {"similarity_fn_name": similarity}
        )
        assert resolve(folder).normalize is normalize
    checkpoints.write_json(
        folder / "config_sentence_transformers.json", {"similarity_fn_name": "euclidean"}
    )
    with pytest.raises(InputError, match="'euclidean' is neither cosine nor dot"):
        resolve(folder)


def test_a_transformer_in_a_folder_of_its_own_is_found(
    sentences: Callable[..., Path], tmp_path: Path
) -> None:
    folder = sentences()
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [each for each in folder.iterdir() if each.is_file()]:
        if path.name not in ("modules.json", "README.md"):
            path.rename(inner / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    checkpoints.write_json(folder / "modules.json", modules)
    assert resolve(folder).query.max_length == 48


def set_modules(folder: Path, *kinds: str) -> None:
    paths = {"Pooling": "1_Pooling", "Dense": "2_Dense"}
    package = "sentence_transformers.models."
    rows = [
        {"path": paths.get(kind, ""), "type": kind if "." in kind else package + kind}
        for kind in kinds
    ]
    checkpoints.write_json(folder / "modules.json", rows)


def edit(folder: Path, name: str, **fields: object) -> None:
    path = folder / name
    checkpoints.write_json(path, json.loads(path.read_text()) | fields)


def two_poolings(folder: Path) -> None:
    edit(folder, "1_Pooling/config.json", pooling_mode_mean_tokens=True)


def max_pooling(folder: Path) -> None:
    edit(
        folder,
        "1_Pooling/config.json",
        pooling_mode_cls_token=False,
        pooling_mode_max_tokens=True,
    )


def pooling_without_prompt(folder: Path) -> None:
    edit(folder, "1_Pooling/config.json", include_prompt=False)
    checkpoints.write_json(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "Q: "}}
    )


def no_pooling(folder: Path) -> None:
    set_modules(folder, "Transformer", "Normalize")


def early_normalize(folder: Path) -> None:
    set_modules(folder, "Transformer", "Pooling", "Normalize", "Dense")


def static(folder: Path) -> None:
    set_modules(folder, "Transformer", "Pooling", "CNN")


def own_module(folder: Path) -> None:
    set_modules(folder, "custom_st.Transformer", "Pooling")


def own_activation(folder: Path) -> None:
    edit(folder, "2_Dense/config.json", activation_function="os.system")


def over_tokens(folder: Path) -> None:
    edit(folder, "2_Dense/config.json", module_input_name="token_embeddings")


def other_shape(folder: Path) -> None:
    edit(folder, "2_Dense/config.json", out_features=25)


def no_dense_weights(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").unlink()


def pickled_dense(folder: Path) -> None:
    from safetensors.torch import load_file

    path = folder / "2_Dense" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()


def no_modules(folder: Path) -> None:
    (folder / "modules.json").write_text("[]")


def outside(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    rows[1]["path"] = "../1_Pooling"
    checkpoints.write_json(folder / "modules.json", rows)


def broken_modules(folder: Path) -> None:
    (folder / "modules.json").write_text('{"0": ')


def no_pooling_config(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (two_poolings, InputError, r"the pooling cls \+ mean cannot be exported"),
        (max_pooling, InputError, "the pooling max cannot be exported, only cls, mean or last"),
        (pooling_without_prompt, InputError, "leaves out the prompt"),
        (no_pooling, InputError, "the modules are Transformer, Normalize: only Transformer, P"),
        (early_normalize, InputError, "the modules are Transformer, Pooling, Normalize, Dense"),
        (static, InputError, "the modules are Transformer, Pooling, CNN"),
        (own_module, InputError, r"custom_st\.Transformer is code of its own, which is never run"),
        (own_activation, InputError, r"the activation os\.system cannot be exported"),
        (over_tokens, InputError, "only a Dense module over the pooled vector"),
        (other_shape, ModelError, "the Dense module cannot be loaded"),
        (no_dense_weights, ModelError, "the Dense module cannot be loaded"),
        (pickled_dense, InputError, "pickled weights, which are read only with --allow-pickle"),
        (no_modules, ModelError, r"modules\.json: there are no modules in it"),
        (outside, ModelError, "leads out of the folder"),
        (broken_modules, ModelError, r"modules\.json: not a list of modules"),
        (no_pooling_config, ModelError, r"1_Pooling/config\.json"),
    ],
)
def test_a_sentence_transformers_folder_that_cannot_be_exported_is_refused(
    sentences: Callable[..., Path],
    spoil: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    folder = sentences()
    spoil(folder)
    with pytest.raises(error, match=message) as caught:
        resolve(folder)
    assert str(folder) in str(caught.value)


def test_pickled_heads_are_read_where_allowed(sentences: Callable[..., Path]) -> None:
    folder = sentences()
    pickled_dense(folder)
    checkpoint = open_checkpoint(str(folder), allow_pickle=True)
    assert len(resolve_settings(checkpoint, EncoderOptions()).heads) == 1


def test_other_encoder_decoders_are_no_encoders(bert: Path, tmp_path: Path) -> None:
    from transformers import BartConfig, BartModel

    folder = named(bert, tmp_path, "bart")
    BartModel(
        BartConfig(
            vocab_size=500,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
    ).save_pretrained(folder)
    with pytest.raises(InputError, match="'bart' is no encoder; is it a generator"):
        resolve(folder, pooling="cls", normalize=True)
