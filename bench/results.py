"""What a measurement leaves: JSON, with the conditions under which it was taken."""

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
PUBLISHED = Path(__file__).parents[1] / "docs" / "performance"
"""What figures are drawn from."""

_QUIET_PERCENT = 10.0
_LOOK_S = 3.0

Json = dict[str, Any]


class Result:
    """Found so far, saved at every step, so that what a long run has measured outlives its end."""

    def __init__(self, name: str, publish: bool) -> None:
        self._paths = [RESULTS / f"{name}.json"] + [PUBLISHED / f"{name}.json"] * publish
        self._others = _busy_percent()
        self.found: Json = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "processors": psutil.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9),
        }

    def add(self, **found: Any) -> None:
        """Part of the result; written at once."""
        self.found |= found
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.found, indent=1) + "\n")

    def end(self) -> None:
        """Say whether others used the machine, before or after."""
        busy = max(self._others, _busy_percent())
        self.add(others_busy_percent=round(busy, 1), quiet=busy < _QUIET_PERCENT)
        print(f"Written to {', '.join(str(path.relative_to(PUBLISHED.parents[1])) for path in self._paths)}")


@contextmanager
def result(name: str, publish: bool) -> Iterator[Result]:
    """A result to fill, in `bench/results`, and in `docs/performance` where it is to be published."""
    filled = Result(name, publish)
    yield filled
    filled.end()


def _busy_percent() -> float:
    """Of all processors, by others: nothing of ours runs yet, or any more."""
    return psutil.cpu_percent(interval=_LOOK_S)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and largest, in milliseconds."""
    ordered = sorted(seconds)
    at = {"p50_ms": len(ordered) // 2, "p99_ms": len(ordered) * 99 // 100, "max_ms": len(ordered) - 1}
    return {"count": len(ordered)} | {name: round(ordered[place] * 1000, 2) for name, place in at.items()}


def middle(several: Sequence[Any]) -> Any:
    """The median of every number in results of the same shape."""
    first = several[0]
    if isinstance(first, dict):
        return {name: middle([one[name] for one in several]) for name in first}
    return statistics.median(several)
