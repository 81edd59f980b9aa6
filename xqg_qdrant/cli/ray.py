"""``--ray`` and ``--ray-workers``, which several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from xqg_qdrant.errors import InputError
from xqg_qdrant.ray_data.cluster import LOCAL, MAX_WORKERS, RayCluster, check_address

Command = TypeVar("Command", bound=Callable[..., Any])

_ENVIRONMENT = ""
"""What ``--ray`` without an address stands for."""


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == _ENVIRONMENT:
        value = os.environ.get("RAY_ADDRESS") or LOCAL
    try:
        return None if value is None else check_address(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def ray(command: Command) -> Command:
    """``--ray`` and ``--ray-workers``."""
    workers = click.option(
        "--ray-workers",
        type=click.IntRange(1, MAX_WORKERS),
        metavar="N",
        help="Processes on the cluster, each with a model of its own.  [default: as many as it "
        "has CPUs for, at --threads each, which is 1 unless given]",
    )
    address = click.option(
        "--ray",
        is_flag=False,
        flag_value=_ENVIRONMENT,
        metavar="[ADDRESS]",
        callback=_address,
        help="Let a Ray cluster do it: auto, the one that this machine belongs to, HOST:PORT, or "
        "local, started here. Needs the extra ray.  [default ADDRESS: $RAY_ADDRESS, or local]",
    )
    return address(workers(command))


def cluster(address: str | None, workers: int | None, threads: int | None) -> RayCluster | None:
    """The cluster that the options name, if any."""
    if address is None:
        if workers is not None:
            raise click.UsageError("--ray-workers goes with --ray")
        return None
    return RayCluster(address, workers=workers, threads=threads or 1, quiet=True)
