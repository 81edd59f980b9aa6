from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import build_encoder
from xqg_qdrant import Encoder

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Of the tests' own Ray cluster; read when Ray is imported, and not again.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
os.environ.pop("RAY_ADDRESS", None)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a tiny encoder."""
    return build_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_encoder(tiny_folder: Path) -> Encoder:
    return Encoder.load(tiny_folder, threads=1)


@pytest.fixture(scope="session")
def tiny_mt5_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub folder of a tiny mT5 of random numbers."""
    for package in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(package, reason="needs the export extra")
    from tests.checkpoints import build_mt5

    return build_mt5(tmp_path_factory.mktemp("checkpoints") / "mt5")


@pytest.fixture(scope="session")
def tiny_generators(
    tiny_mt5_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Model folders of that mT5, by precision."""
    from xqg_qdrant.export.checkpoint import open_checkpoint
    from xqg_qdrant.export.generator import GeneratorOptions, export_generator

    folder = tmp_path_factory.mktemp("generators")
    options = GeneratorOptions(
        prompt="Generate a {language} question for this passage: {title} {passage}",
        prompt_length=64,
        languages=("ar", "sw"),
    )
    for precision in ("fp32", "int8"):
        export_generator(
            open_checkpoint(str(tiny_mt5_checkpoint)),
            folder / precision,
            name="tiny-generator",
            options=options,
            precision=precision,
        )
    return {precision: folder / precision for precision in ("fp32", "int8")}


@pytest.fixture(scope="session")
def tiny_generator_folder(tiny_generators: dict[str, Path]) -> Path:
    """The one in full precision."""
    return tiny_generators["fp32"]


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of two CPUs on this machine, which nobody else may use."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the ray extra")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.local_ray"],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "Ray does not start"
        yield address
        process.stdin.close()


@pytest.fixture(scope="session")
def xquad_r_folder() -> Path:
    """XQuAD-R, where it is at hand."""
    folder = SHARED_DATA / "xquad-r-dev"
    if not (folder / "en.json").is_file():
        pytest.skip(f"needs XQuAD-R at {folder}: fetch it from the LAReQA repository")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The policy of retries as it is, with the waits noted instead of waited."""
    from xqg_qdrant.engine import connecting, server, server_calls

    waits: list[float] = []
    real = server_calls.retrying
    for module in (connecting, server):
        monkeypatch.setattr(
            module, "retrying", lambda **bounds: real(**bounds).copy(sleep=waits.append)
        )
    return waits


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB, to be grown by remounting; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
