"""What the README promises, run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_library_use_finds_the_nile(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert " nile The Nile flows north" in line


def test_the_two_commands_and_all_links_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in README
        assert f"\n{command}:" in makefile
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_compose_file_starts_a_pinned_guarded_server() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert re.search(r"image: qdrant/qdrant:v\d+\.\d+\.\d+\n", compose)
    assert '"127.0.0.1:6333:6333"' in compose
    assert "healthcheck:" in compose
    assert "${QDRANT_API_KEY:?" in compose
    if "QDRANT_API_KEY" in os.environ:
        assert os.environ["QDRANT_API_KEY"] not in compose
