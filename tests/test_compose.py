"""The compose files, as deep as they can be looked at without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="comes with the export extra")

ROOT = Path(__file__).resolve().parents[1]
FILES = ("docker-compose.yml", "docker-compose.cluster.yml")
NODES = ("qdrant-1", "qdrant-2", "qdrant-3")


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return dict(_read("docker-compose.cluster.yml")["services"])


def test_the_images_are_pinned_and_the_same(nodes: dict[str, Any]) -> None:
    alone = _read("docker-compose.yml")["services"]["qdrant"]
    images = {alone["image"], *(node["image"] for node in nodes.values())}
    assert len(images) == 1
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", images.pop())
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert alone["image"] in workflow  # what is tested is what is started


def test_each_node_says_where_it_is_and_joins_the_first(nodes: dict[str, Any]) -> None:
    assert tuple(nodes) == NODES
    for name, node in nodes.items():
        program, *arguments = node["command"]
        assert program == "./qdrant"
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert given.pop("--uri") == f"http://{name}:6335"
        assert given == ({} if name == NODES[0] else {"--bootstrap": f"http://{NODES[0]}:6335"})
        assert node["environment"]["QDRANT__CLUSTER__ENABLED"] == "true"
        if name != NODES[0]:
            assert node["depends_on"] == {NODES[0]: {"condition": "service_healthy"}}
        assert "/readyz" in node["healthcheck"]["test"][-1]


def test_each_node_keeps_its_data_in_a_volume_of_its_own(nodes: dict[str, Any]) -> None:
    volumes = [node["volumes"] for node in nodes.values()]
    assert volumes == [[f"{name}:/qdrant/storage"] for name in NODES]
    assert tuple(_read("docker-compose.cluster.yml")["volumes"]) == NODES


def test_only_localhost_reaches_them_and_nobody_the_port_between_them(
    nodes: dict[str, Any],
) -> None:
    published = [port for node in nodes.values() for port in node["ports"]]
    assert len({port.split(":")[1] for port in published}) == len(published) == 6
    for port in published:
        host, _, inside = port.split(":")
        assert host == "127.0.0.1"
        assert inside in ("6333", "6334")
    assert all("6335" in node["expose"] for node in nodes.values())


@pytest.mark.parametrize("name", FILES)
def test_an_api_key_must_be_set_and_none_is_written_down(name: str) -> None:
    for node in _read(name)["services"].values():
        assert node["environment"]["QDRANT__SERVICE__API_KEY"].startswith("${QDRANT_API_KEY:?")


def _compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("needs docker compose; no engine need run")


@pytest.mark.parametrize("name", FILES)
def test_compose_takes_them(name: str) -> None:
    config = [*_compose(), "-f", str(ROOT / name), "config", "--quiet"]
    environment = {key: value for key, value in os.environ.items() if key != "QDRANT_API_KEY"}
    done = subprocess.run(config, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "set QDRANT_API_KEY" in done.stderr
    environment["QDRANT_API_KEY"] = "a-key"
    done = subprocess.run(config, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
