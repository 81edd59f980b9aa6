"""The program: see :mod:`tests.bad_input.fuzz`."""

from __future__ import annotations

import argparse
import sys

from tests.bad_input.fuzz import running
from tests.bad_input.fuzz.targets import ALL


def main() -> int:
    """Run, print, and return 1 where a crash or a silent acceptance was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bad_input.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="inputs a target")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", nargs="*", default=[], help="names of targets, or parts of them")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    targets = ALL
    if given.child:
        name, *seeds = given.child
        running.child(targets[name], [int(seed) for seed in seeds])
        return 0
    chosen = [
        each
        for each in targets.values()
        if not given.only or any(part in each.name for part in given.only)
    ]
    outcomes = []
    for each in chosen:
        print(f"{each.name} …", file=sys.stderr, flush=True)
        outcomes.append(running.run(each, running.seeds_of(each, given.first, given.count)))
    print(running.table(outcomes))
    return int(any(each.silent or each.crashes for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
