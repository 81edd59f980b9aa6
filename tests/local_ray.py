"""A Ray cluster of this machine alone, as a process of its own: it says its address, and stays."""

from __future__ import annotations

import sys
import tempfile

import ray


def main() -> None:
    with tempfile.TemporaryDirectory(
        prefix="xqg-ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as f:
        context = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            _temp_dir=f,
        )
        print(context.address_info["gcs_address"], flush=True)
        sys.stdin.read()  # until the tests end, however they do
        ray.shutdown()


if __name__ == "__main__":
    main()
