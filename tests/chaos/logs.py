"""What the services logged as errors: shown in the report, and a finding where no outage explains it."""

import json
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

_OUR_MISTAKES = re.compile(
    "consumer_broken|consumer_restarts|background_task_failed|tail failed|"
    "Unclosed|Exception in|unhandled|never retrieved"
)
_EXPLAINED = re.compile(
    # The drivers' own tasks, whose outcome nobody awaits any more once we have given up on a lost connection.
    "never retrieved.*(_do_commit_offs|ConnectionDoesNotExistError)",
    re.DOTALL,
)
_HEAD, _TAIL = 120, 60


def logged(directory: Path) -> dict[str, int]:
    """Errors by process and words; most are the Kafka client's about the faults. Numbers are left out."""
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        for line in log.read_text(errors="replace").splitlines():
            with suppress(ValueError, AttributeError, KeyError):
                entry = json.loads(line)
                if entry.get("level") in ("error", "critical"):
                    words = [entry["event"], entry.get("failure"), *entry.get("exception", [])]
                    found[f"{log.stem}: {_short(' '.join(filter(None, words)))}"] += 1
    return dict(found)


def mistakes(found: dict[str, int]) -> list[str]:
    """Those that an outage does not explain."""
    return [
        f"logged {count} times: {words}"
        for words, count in found.items()
        if _OUR_MISTAKES.search(words) and not _EXPLAINED.search(words)
    ]


def _short(words: str) -> str:
    general = re.sub(r"0x[0-9a-f]+|[0-9]+", "#", words).strip()
    return general if len(general) <= _HEAD + _TAIL else f"{general[:_HEAD]} … {general[-_TAIL:]}"
