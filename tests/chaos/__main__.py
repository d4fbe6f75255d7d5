"""`python -m tests.chaos --minutes 5 --seed 7`: faults under load on real servers, then the audit."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.inject import SHORT, Plan
from tests.chaos.report import print_report, save
from tests.chaos.run import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--faults", type=int, default=100_000, help="end sooner, when so many are done")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--only", default="", help="only faults whose kind and target contain this")
    parser.add_argument(
        "--short",
        action="store_true",
        help="one fixed course of faults, about a minute; times are judged leniently, nothing else is",
    )
    chosen = parser.parse_args()
    plan = SHORT if chosen.short else Plan(chosen.seed, chosen.minutes, chosen.faults, only=chosen.only)
    directory = Path(tempfile.mkdtemp(prefix="throughline-chaos-"))
    found = asyncio.run(run(directory, plan))
    path = save(found)
    print_report(found, path)
    if found["clean"]:
        shutil.rmtree(directory)
        return
    print(f"Logs and data of this run: {directory}")
    sys.exit(1)


if __name__ == "__main__":
    main()
