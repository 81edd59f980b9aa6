from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import checkpoints
from xqg_qdrant import InputError, ModelError, StorageError
from xqg_qdrant.export.checkpoint import load_model, open_checkpoint

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("transformers", reason="needs the export extra")


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A BERT to spoil."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    row = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in row.items() if value is not None}))


def test_a_local_folder_is_opened(bert: Path) -> None:
    import torch
    from transformers import AutoModel

    checkpoint = open_checkpoint(str(bert))
    assert (checkpoint.name, checkpoint.revision) == ("tiny-bert", None)
    assert (checkpoint.license, checkpoint.languages) == ("cc0-1.0", ("en", "sw"))
    assert (checkpoint.pad_token_id, checkpoint.max_tokens) == (0, 128)
    assert checkpoint.tokenizer.padding is None
    assert checkpoint.tokenizer.truncation is None
    model = load_model(checkpoint, AutoModel)
    assert not model.training
    assert {each.dtype for each in model.parameters()} == {torch.float32}


def test_half_precision_weights_become_float32(folder: Path) -> None:
    import torch
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    model = load_model(open_checkpoint(str(folder)), AutoModel)
    assert {each.dtype for each in model.parameters()} == {torch.float32}


def test_the_pad_id_of_xlm_r_is_the_one_its_positions_hang_on(xlmr: Path) -> None:
    assert open_checkpoint(str(xlmr)).pad_token_id == 1


def test_weights_in_shards_are_loaded(folder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    load_model(open_checkpoint(str(folder)), AutoModel)
    next(folder.glob("model-00002-*")).write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match=r"model-00002-of-.*: damaged, or not safetensors"):
        open_checkpoint(str(folder))


def test_an_index_of_shards_cannot_name_files_outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"pooler.dense.bias": "../model.safetensors"}}
    checkpoints.write_json(folder / "model.safetensors.index.json", index)
    with pytest.raises(ModelError, match="it names files outside its folder"):
        open_checkpoint(str(folder))


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_architecture(folder: Path) -> None:
    edit_config(folder, model_type=None)


def unknown_architecture(folder: Path) -> None:
    edit_config(folder, model_type="quantum-bert")


def own_code(folder: Path) -> None:
    (folder / "modeling.py").write_text("raise SystemExit('code of the checkpoint was run')")
    edit_config(folder, model_type="own", auto_map={"AutoConfig": "modeling.Config"})


def wrong_config(folder: Path) -> None:
    edit_config(folder, num_attention_heads=5)


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (folder / name).unlink()


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 9)


def other_shapes(folder: Path) -> None:
    edit_config(folder, intermediate_size=48)


def no_sizes(folder: Path) -> None:
    edit_config(folder, hidden_size=None, num_hidden_layers=None, intermediate_size=None)


def missing_layer(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)


def other_model(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({f"own.{key}": value for key, value in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (no_config, InputError, "there is no config.json, so this is no checkpoint"),
        (no_json, ModelError, "config.json"),
        (no_architecture, ModelError, "the field 'model_type' is missing"),
        (unknown_architecture, ModelError, "'quantum-bert' is not known to transformers"),
        (own_code, ModelError, "code of its own, which is never run"),
        (wrong_config, ModelError, "multiple of the number of attention heads"),
        (no_tokenizer, InputError, "there is no tokenizer"),
        (broken_tokenizer, InputError, "there is no tokenizer"),
        (no_weights, InputError, "there are no weights in safetensors format"),
        (cut_weights, ModelError, "model.safetensors: damaged, or not safetensors"),
        (no_safetensors, ModelError, "model.safetensors: damaged, or not safetensors"),
        (other_shapes, ModelError, "the weights cannot be loaded"),
        (no_sizes, ModelError, "the weights cannot be loaded"),
        (missing_layer, ModelError, r"16 are missing and 0 have another shape"),
        (other_model, ModelError, "are missing and 0 have another shape"),
    ],
)
def test_a_spoilt_checkpoint_is_refused(
    folder: Path, spoil: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    from transformers import AutoModel

    spoil(folder)
    with pytest.raises(error, match=message) as caught:
        load_model(open_checkpoint(str(folder)), AutoModel)
    assert str(folder) in str(caught.value)


def test_a_tokenizer_of_a_vocabulary_alone_is_made(folder: Path) -> None:
    text = "The Nile flows north."
    expected = open_checkpoint(str(folder)).tokenizer.encode(text).ids
    (folder / "tokenizer.json").unlink()
    assert open_checkpoint(str(folder)).tokenizer.encode(text).ids == expected


def test_a_tokenizer_of_a_sentencepiece_model_alone_is_made(mt5: Path, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="reads such models")
    folder = Path(shutil.copytree(mt5, tmp_path / "model"))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(checkpoints.sample_texts()),
        model_prefix=str(folder / "spiece"),
        vocab_size=1500,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    checkpoints.write_json(folder / "tokenizer_config.json", {"extra_ids": 0})
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = open_checkpoint(str(folder)).tokenizer
    for text in ("The Nile flows north.", "Mto Nile unaingia bahari gani?"):
        assert tokenizer.encode(text).ids == [*model.encode(text), 1]


def test_pickled_weights_are_read_only_where_allowed(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    folder = checkpoints.build_bert(tmp_path / "pickled", safe=False)
    assert not list(folder.glob("*.safetensors"))
    with pytest.raises(InputError, match=rf"pickled only.*--allow-pickle {folder}"):
        open_checkpoint(str(folder))
    checkpoint = open_checkpoint(str(folder), allow_pickle=True)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    model = load_model(checkpoint, AutoModel)
    name = "embeddings.word_embeddings.weight"
    torch.testing.assert_close(model.state_dict()[name], state[name])


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_allowed_pickles_still_run_no_code(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    folder = checkpoints.build_bert(tmp_path / "pickled", safe=False)
    torch.save({"w": Payload(tmp_path / "was-here")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="the weights cannot be loaded"):
        load_model(open_checkpoint(str(folder), allow_pickle=True), AutoModel)
    assert not (tmp_path / "was-here").exists()


def test_a_folder_has_no_revisions(bert: Path) -> None:
    with pytest.raises(InputError, match="a local folder has no revisions"):
        open_checkpoint(str(bert), revision="main")


@pytest.mark.parametrize("model", ["./no/such/folder", "a/b/c", "..", "~nobody/x y"])
def test_what_is_neither_folder_nor_hub_id_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder|no config\.json"):
        open_checkpoint(model)


def test_without_the_hub_a_model_must_be_in_its_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bert: Path
) -> None:
    import huggingface_hub.constants as hub

    cache = tmp_path / "hub"
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(cache))
    with pytest.raises(InputError, match="the hub cannot be reached"):
        open_checkpoint("xqg/tiny-bert")
    repository = cache / "models--xqg--tiny-bert"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(bert, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    checkpoint = open_checkpoint("xqg/tiny-bert")
    assert (checkpoint.name, checkpoint.revision) == ("tiny-bert", commit)
    assert checkpoint.source == "xqg/tiny-bert"
    assert open_checkpoint("xqg/tiny-bert", revision=commit).folder == checkpoint.folder
    with pytest.raises(InputError, match="the hub cannot be reached"):
        open_checkpoint("xqg/tiny-bert", revision="v2")


def test_errors_of_the_hub_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's answers, as its client raises them."""
    import huggingface_hub
    import requests
    from huggingface_hub import errors

    def answer(error: Exception) -> Callable[..., str]:
        def snapshot_download(*arguments: object, **options: object) -> str:
            raise error

        return snapshot_download

    response = requests.Response()
    full = OSError(28, "No space left on device")
    for error, expected, message in (
        (errors.GatedRepoError("403", response=response), InputError, "accepted its terms"),
        (errors.RepositoryNotFoundError("404", response=response), InputError, "no such model"),
        (errors.RevisionNotFoundError("404", response=response), InputError, "no revision 'v2'"),
        (full, StorageError, "No space left on device"),
    ):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", answer(error))
        with pytest.raises(expected, match=message):
            open_checkpoint("xqg/tiny-bert", revision="v2")


def test_a_card_that_cannot_be_read_costs_licence_and_languages_alone(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: [cc0\n---\n")
    checkpoint = open_checkpoint(str(folder))
    assert (checkpoint.license, checkpoint.languages) == (None, ())
    (folder / "README.md").unlink()
    assert open_checkpoint(str(folder)).license is None


def test_importing_the_room_needs_no_extra() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "for name in ('torch', 'transformers', 'onnx'): sys.modules[name] = None\n"
            "import xqg_qdrant.export.checkpoint as checkpoint\n"
            "import xqg_qdrant.cli.export, xqg_qdrant.export.encoder, xqg_qdrant.export.generator\n"
            "from xqg_qdrant import ModelError\n"
            "try: checkpoint.open_checkpoint('a/b')\n"
            "except ModelError as error: print(error)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'xqg-qdrant[export]'" in done.stdout
