"""Model folders that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_qdrant.errors import InputError, StorageError
from xqg_qdrant.export.checkpoint import Checkpoint
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.models.manifest import MANIFEST_FILE, SCHEMA_VERSION, TOKENIZER_FILE

if TYPE_CHECKING:
    import onnx
    from tokenizers import Tokenizer

INLINE_BYTES = 1_800_000_000
"""Larger models keep their weights in a file beside: a protobuf message ends at 2 GiB."""

_SPARE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: the model folder.
        manifest: the content of its ``manifest.json``.
        seconds: how long it took, parity check included.
    """

    folder: Path
    manifest: Mapping[str, Any]
    seconds: float


@contextmanager
def staged_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """A new folder beside the target, which takes the target's name when the block ends well.

    After an error, and after a full disk, nothing is left; what a killed export left is removed by
    the next one.

    Args:
        target: the model folder to be.
        force: replace a model folder that is there already, once the new one is whole.

    Yields:
        The folder to write into.

    Raises:
        InputError: the target is there already, or is something else than a model folder.
        StorageError: it cannot be written.
    """
    check_target(target, force=force)
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow links
    staging = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    missing = [each for each in target.parents if not each.exists()]
    lock: int | None = None
    try:
        with _storage(target):
            staging.mkdir(parents=True)
            lock = os.open(staging, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sweep(target)
        with _storage(target, full_only=True):
            yield staging
        with _storage(target):
            _sync(staging)
            _publish(staging, target, force=force)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def check_target(target: Path, *, force: bool = False) -> None:
    """Check before long work that a model folder can be put there.

    Raises:
        InputError: it is there already and may not be replaced.
    """
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not target.is_symlink():
        if not any(target.iterdir()):
            return
        if (target / MANIFEST_FILE).is_file():
            if force:
                return
            raise InputError(
                f"{target} is there already: choose another folder, or replace it with --force"
            )
    raise InputError(f"{target} is there already, and is no model folder: choose another folder")


def check_room(folder: Path, wanted: int) -> None:
    """Check that the disk has room for that many bytes.

    Raises:
        StorageError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + _SPARE_BYTES:
        raise StorageError(
            f"{folder.parent}: the model needs {wanted / 1e6:,.0f} MB and the disk has "
            f"{free / 1e6:,.0f} MB left: make room, or choose another disk"
        )


def save_model(model: onnx.ModelProto, folder: Path, file_name: str) -> None:
    """Write a model; one over 1.8 GB keeps its weights in ``file_name + ".data"``.

    Raises:
        StorageError: it cannot be written.
    """
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    path = folder / file_name
    size = model_bytes(model)
    with _storage(path):
        check_room(folder, size)
        if size > INLINE_BYTES:
            convert_model_to_external_data(
                model, all_tensors_to_one_file=True, location=f"{file_name}.data"
            )
            onnx.save_model(model, str(path))
            # onnx lets nobody but the owner read this file.
            path.with_name(f"{file_name}.data").chmod(folder.stat().st_mode & 0o666)
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))


def rewrite_model(
    folder: Path, file_name: str, change: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> None:
    """Read a model that was written, change it, and write it in its own place.

    Raises:
        StorageError: it cannot be written.
    """
    import onnx

    model = onnx.load(str(folder / file_name))
    for path in folder.glob(f"{file_name}*"):
        path.unlink()
    save_model(change(model), folder, file_name)


def model_bytes(model: onnx.ModelProto) -> int:
    """Bytes of a model's weights; the message itself may be too large to be measured."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) + 2**16


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / TOKENIZER_FILE
    with _storage(path):
        path.write_text(tokenizer.to_str(pretty=False), encoding="utf-8")


def write_manifest(folder: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``manifest.json``: the fields, and hash and size of every file of the folder.

    Args:
        folder: with all other files in place.
        fields: all but ``schema_version`` and ``files``; ``parity`` comes last.

    Returns:
        What was written.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / MANIFEST_FILE
    with _storage(path):
        files = {
            each.name: {"sha256": _sha256(each), "bytes": each.stat().st_size}
            for each in sorted(folder.iterdir())
            if each != path
        }
        rest = {key: value for key, value in fields.items() if key != "parity"}
        manifest = {
            "schema_version": SCHEMA_VERSION,
            **rest,
            "files": files,
            "parity": fields["parity"],
        }
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
    return manifest


def source_of(checkpoint: Checkpoint, *, preset: str | None) -> dict[str, Any]:
    """What a manifest says of the checkpoint: of a local one its folder's name, not its path."""
    source: dict[str, Any] = {
        "model": checkpoint.name if checkpoint.revision is None else checkpoint.source,
        "revision": checkpoint.revision,
    }
    return {**source, "preset": preset} if preset else source


def known_languages(listed: Iterable[str]) -> list[str]:
    """The codes of a model card that are of languages; cards also say ``multilingual``."""
    found = set()
    for code in listed:
        with suppress(InputError):
            found.add(normalize_language(code))
    return sorted(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sweep(target: Path) -> None:
    """Remove what killed exports left: a running one holds a lock on its folder."""
    for folder in target.parent.glob(f".{target.name}.partial-*"):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def _publish(staging: Path, target: Path, *, force: bool) -> None:
    # Again, as hours may have passed; renaming onto an empty folder replaces it.
    check_target(target, force=force)
    old: Path | None = None
    if target.exists() and any(target.iterdir()):
        old = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        if old is not None:
            old.rename(target)
        raise
    _sync_one(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage(path: Path, *, full_only: bool = False) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full_only and not full:
            raise
        fix = "make room there, or choose another disk" if full else "choose another folder"
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}; {fix}"
        ) from error
