"""`python -m tests.hostile --messages 1000000 --requests 100000 --seed 7`: hostile input, and an audit."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.hostile.report import bars, print_report, save
from tests.hostile.run import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="throughline-hostile-"))
    with bars(chosen.messages, chosen.requests) as progress:
        found = asyncio.run(run(directory, chosen.messages, chosen.requests, chosen.seed, progress))
    path = save(found)
    print_report(found, path)
    if found["clean"]:
        shutil.rmtree(directory)
        return
    print(f"Logs and data of this run: {directory}")
    sys.exit(1)


if __name__ == "__main__":
    main()
