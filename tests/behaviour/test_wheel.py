"""What is shipped: the wheel alone, unpacked in a strange place, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _run(unpacked: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the unpacked package; ``-P`` and the folder keep the checkout out of sight."""
    script = (
        "import sys, xqg_qdrant; from xqg_qdrant.cli import main\n"
        f"assert xqg_qdrant.__file__.startswith({str(unpacked)!r}), xqg_qdrant.__file__\n"
        "main()"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XQG_", "QDRANT_"))}
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_carries_models_samples_and_types(unpacked: Path) -> None:
    package = unpacked / "xqg_qdrant"
    for file in (
        "py.typed",
        *(
            f"onnx/{model}/{name}"
            for model in ("mini", "mini-static")
            for name in ("model.onnx", "tokenizer.json", "manifest.json", "README.md")
        ),
        "samples/passages.jsonl",
        "samples/queries.jsonl",
        "samples/questions.jsonl",
        "samples/reference.json",
    ):
        assert (package / file).is_file(), file
    assert not (unpacked / "tests").exists()


def test_the_demo_runs_from_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    done = _run(unpacked, tmp_path, "demo", "-q")
    assert done.returncode == 0, done.stderr
    assert "hand-written" in done.stdout
    assert "XQuAD-R" in done.stdout
    (average,) = (line for line in done.stdout.splitlines() if line.startswith("average"))
    plain, augmented = (float(cell) for cell in average.split()[-2:])
    assert augmented > plain > 0.4
    assert "average" in done.stdout
    assert (tmp_path / "xqg-demo" / "encyclopaedia").is_dir()
    again = _run(unpacked, tmp_path, "demo", "-q")
    assert again.returncode == 0, again.stderr
    rows = json.loads(_run(unpacked, tmp_path, "models", "--json").stdout)
    assert [row["name"] for row in rows if row["default"]] == ["mini"]
