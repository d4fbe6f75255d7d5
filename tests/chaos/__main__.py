"""`python -m tests.chaos --minutes 5 --seed 7`: faults under load on real servers, then the audit."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import print_report, save
from tests.chaos.run import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))  # noqa: S311 - not a secret
    parser.add_argument("--only", default="", help="only faults whose kind or target contains this")
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="throughline-chaos-"))
    found = asyncio.run(run(directory, chosen.minutes, chosen.seed, chosen.only))
    path = save(found)
    print_report(found, path)
    if found["clean"]:
        shutil.rmtree(directory)
        return
    print(f"Logs and data of this run: {directory}")
    sys.exit(1)


if __name__ == "__main__":
    main()
