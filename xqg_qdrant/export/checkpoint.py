"""Checkpoints: a hub id or a local folder, opened without running anything of theirs.

Weights are read from safetensors; pickled ones only where the caller allows it, and then by torch's
loader for weights alone. Code that a checkpoint brings along is never run.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.errors import InputError, ModelError, StorageError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

CONFIG_FILE = "config.json"
MODULES_FILE = "modules.json"
CARD_FILE = "README.md"
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_WANTED = (
    "*.json",
    "*.txt",
    "*.model",
    CARD_FILE,
    "*model.safetensors",
    "*model-*-of-*.safetensors",
)
_WANTED_PICKLES = ("*pytorch_model.bin", "*pytorch_model-*-of-*.bin")
_UNWANTED = ("onnx/*", "openvino/*", "original/*", "*/checkpoint-*")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as its makers published it, on this disk.

    Attributes:
        source: hub id, or the folder as given.
        revision: commit hash of a hub snapshot; None for a local folder.
        license: of the weights, where the model card's header has one.
        languages: as the model card's header has them; may be empty.
        folder: where its files lie.
        transformer: where config, weights and tokenizer lie: the folder, or the first part of a
            sentence-transformers folder.
        config: the transformers configuration.
        tokenizer: fast backend, without truncation and padding.
        pad_token_id: what shorter texts of a batch are filled up with.
        max_tokens: most tokens that the tokenizer's makers meant; None where they do not say.
        allow_pickle: whether pickled weights may be read.
    """

    source: str
    revision: str | None
    license: str | None
    languages: tuple[str, ...]
    folder: Path
    transformer: Path
    config: Any
    tokenizer: Tokenizer
    pad_token_id: int
    max_tokens: int | None = None
    allow_pickle: bool = False

    @property
    def name(self) -> str:
        """The last part of the hub id or of the folder."""
        return self.folder.resolve().name if self.revision is None else self.source.split("/")[-1]


def require_extra() -> None:
    """Check that what exports needs is installed.

    Raises:
        ModelError: the ``export`` extra is missing.
    """
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"exporting needs torch, transformers and onnx ({error}): "
            "install them with  pip install 'xqg-qdrant[export]'"
        ) from error


def open_checkpoint(
    model: str, *, revision: str | None = None, allow_pickle: bool = False
) -> Checkpoint:
    """Open a checkpoint; a hub id is downloaded into the hub's local cache, if it is not there.

    Args:
        model: a folder, or a hub id such as ``intfloat/multilingual-e5-small``.
        revision: branch, tag or commit of a hub model.
        allow_pickle: read pickled weights where there are no safetensors.

    Raises:
        InputError: no such folder or hub model, or it has no weights that may be read.
        ModelError: its files are damaged, its architecture is unknown, or the ``export`` extra is
            missing.
        StorageError: the disk is full.
    """
    require_extra()
    folder = Path(model).expanduser()
    commit: str | None = None
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"{model}: a local folder has no revisions: leave revision out")
    else:
        folder = _download(model, revision, allow_pickle)
        commit = folder.name
    transformer = _transformer_folder(folder)
    config = _read_config(transformer)
    _check_weights(transformer, model, allow_pickle)
    license_, languages = _read_card(folder / CARD_FILE)
    with quiet():
        tokenizer = _read_tokenizer(transformer)
    pad_token_id = _pad_token_id(transformer, config, tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    # Without a limit transformers has a very large number there.
    limit = tokenizer.model_max_length
    return Checkpoint(
        source=model,
        revision=commit,
        license=license_,
        languages=languages,
        folder=folder,
        transformer=transformer,
        config=config,
        tokenizer=backend,
        pad_token_id=pad_token_id,
        max_tokens=int(limit) if limit < 10**6 else None,
        allow_pickle=allow_pickle,
    )


def load_model(
    checkpoint: Checkpoint, auto_class: Any, *, unused: tuple[str, ...] = ("pooler.",)
) -> torch.nn.Module:
    """Load the weights, in float32 and ready to evaluate.

    Args:
        checkpoint: from :func:`open_checkpoint`.
        auto_class: a class of transformers, such as ``transformers.AutoModel``.
        unused: starts of the names of weights that may be missing, because nothing uses them.

    Raises:
        ModelError: weights are damaged or missing, or do not fit the configuration.
    """
    import torch

    folder = checkpoint.transformer
    safe = any((folder / name).is_file() for name in SAFE_WEIGHTS)
    if not safe and not checkpoint.allow_pickle:
        raise InputError(_pickle_only(checkpoint.source))
    with quiet():
        try:
            model, loading = auto_class.from_pretrained(
                folder,
                config=checkpoint.config,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=safe,
                weights_only=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:
            raise ModelError(f"{folder}: the weights cannot be loaded: {first(error)}") from error
    # transformers draws at random whatever a checkpoint lacks, and goes on.
    lacking = [name for name in loading["missing_keys"] if not name.startswith(unused)]
    wrong = [each[0] if isinstance(each, tuple) else each for each in loading["mismatched_keys"]]
    if lacking or wrong:
        names = ", ".join(sorted([*lacking, *wrong])[:3])
        raise ModelError(
            f"{folder}: the weights do not fit {type(model).__name__}: {len(lacking)} are missing "
            f"and {len(wrong)} have another shape, such as {names}"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    loaded: torch.nn.Module = model.eval()
    return loaded


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what transformers and torch say on the side from the user's screen."""
    from transformers.utils import logging as chatter

    level = chatter.get_verbosity()
    bars = chatter.is_progress_bar_enabled()
    chatter.set_verbosity(chatter.CRITICAL)
    chatter.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()


def first(error: BaseException) -> str:
    """The first line of an error of a library, with its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(":") if lines else type(error).__name__


def _download(model: str, revision: str | None, allow_pickle: bool) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    def fetch(patterns: tuple[str, ...]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                model,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(_UNWANTED),
            )
        )

    try:
        folder = fetch(_WANTED)
        if allow_pickle and not any(folder.rglob("*.safetensors")):
            folder = fetch((*_WANTED, *_WANTED_PICKLES))
    except errors.HFValidationError:
        raise InputError(f"{model}: no such folder, and not the id of a hub model") from None
    except errors.GatedRepoError as error:
        raise InputError(
            f"{model}: the hub gives it only to accounts that accepted its terms: accept them on "
            "its page, then log in with  hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{model}: no such folder, and the hub has no such model, or it is private: check the "
            "name, or log in with  hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{model}: the hub has no revision {revision!r} of it") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{model}: no such folder, and the hub cannot be reached (offline?) nor is the model "
            "in the local cache: connect, or give the path of a folder with the model's files"
        ) from error
    except OSError as error:
        raise StorageError(f"{model}: cannot be downloaded: {first(error)}") from error
    return folder


def _transformer_folder(folder: Path) -> Path:
    modules = folder / MODULES_FILE
    if not modules.is_file():
        return folder
    path = read_modules(modules)[0]["path"]
    return folder / path if path else folder


def read_modules(path: Path) -> list[dict[str, str]]:
    """Read ``modules.json`` of a sentence-transformers folder.

    Returns:
        ``type`` and ``path`` of each module, in their order.

    Raises:
        ModelError: it is malformed, or a path leads out of the folder.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found = [{"type": str(each["type"]), "path": str(each["path"])} for each in value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a list of modules: {first(error)}") from error
    if not found:
        raise ModelError(f"{path}: there are no modules in it")
    for each in found:
        parts = Path(each["path"]).parts
        if ".." in parts or Path(each["path"]).is_absolute():
            raise ModelError(f"{path}: the path {each['path']!r} leads out of the folder")
    return found


def _read_config(folder: Path) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{folder}: there is no {CONFIG_FILE}, so this is no checkpoint")
    try:
        row = read_json_object(path)
    except InputError as error:
        raise ModelError(str(error)) from None
    model_type = row.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ModelError(f"{path}: the field 'model_type' is missing, which names the architecture")
    if model_type not in CONFIG_MAPPING:
        own = " It brings code of its own, which is never run." if row.get("auto_map") else ""
        raise ModelError(
            f"{path}: the architecture {model_type!r} is not known to transformers "
            f"{__version__}.{own}"
        )
    with quiet():
        try:
            return AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise ModelError(f"{path}: not a configuration: {first(error)}") from error


def _check_weights(folder: Path, model: str, allow_pickle: bool) -> None:
    """Find weights that may be read, and check that safetensors are whole."""
    from safetensors import safe_open

    if not any((folder / name).is_file() for name in SAFE_WEIGHTS):
        if any((folder / name).is_file() for name in PICKLED_WEIGHTS):
            if not allow_pickle:
                raise InputError(_pickle_only(model))
            return
        raise InputError(
            f"{model}: there are no weights in safetensors format ({SAFE_WEIGHTS[0]}). If it has "
            f"pickled ones and you trust their makers, give  --allow-pickle {model}"
        )
    names = [SAFE_WEIGHTS[0]] if (folder / SAFE_WEIGHTS[0]).is_file() else _shards(folder)
    for name in names:
        try:
            with safe_open(folder / name, framework="numpy") as tensors:
                empty = not list(tensors.keys())
        except Exception as error:
            raise ModelError(
                f"{folder / name}: damaged, or not safetensors: {first(error)}; fetch it again"
            ) from error
        if empty:
            raise ModelError(f"{folder / name}: there are no weights in it")


def _shards(folder: Path) -> list[str]:
    path = folder / SAFE_WEIGHTS[1]
    try:
        names = sorted(set(read_json_object(path)["weight_map"].values()))
        plain = all(Path(name).name == name for name in names)
    except (InputError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: not an index of weights: {first(error)}") from error
    if not plain:
        raise ModelError(f"{path}: it names files outside its folder")
    return names


def _pickle_only(model: str) -> str:
    return (
        f"{model}: its weights are pickled only, and unpickling can run code. Look for safetensors "
        "(hub models often have them in a pull request: --revision refs/pr/NUMBER), or, if you "
        f"trust its makers, give  --allow-pickle {model}"
    )


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise InputError(
            f"{folder}: there is no tokenizer: neither tokenizer.json nor a vocabulary that it can "
            f"be made of ({first(error)})"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"{folder}: its tokenizer {type(tokenizer).__name__} has no tokenizer.json and cannot "
            "be turned into one"
        )
    return tokenizer


def _pad_token_id(folder: Path, config: Any, tokenizer: Any) -> int:
    """The configuration's before the tokenizer's: position ids of XLM-R hang on the former."""
    vocabulary = int(config.get_text_config().vocab_size)
    for value in (getattr(config, "pad_token_id", None), tokenizer.pad_token_id):
        if isinstance(value, int) and 0 <= value < vocabulary:
            return value
    raise ModelError(
        f"{folder}: neither {CONFIG_FILE} nor the tokenizer has a pad token: "
        f"set 'pad_token_id' in {CONFIG_FILE}"
    )


def _read_card(path: Path) -> tuple[str | None, tuple[str, ...]]:
    """Licence and languages from the YAML header of a model card, where there is one."""
    from huggingface_hub import metadata_load

    if not path.is_file():
        return None, ()
    try:
        header = metadata_load(path) or {}
    except Exception as error:  # noqa: BLE001 - a card that is no YAML costs its notes, no more
        log.warning("%s: its header cannot be read: %s", path, first(error))
        return None, ()
    license_ = header.get("license_name") or header.get("license")
    languages = header.get("language") or []
    listed = [languages] if isinstance(languages, str) else languages
    return (
        license_ if isinstance(license_, str) else None,
        tuple(each for each in listed if isinstance(each, str)),
    )
