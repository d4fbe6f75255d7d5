"""One run: start everything, send messages and then requests, and say what was wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.flood import send_messages
from tests.hostile.requests import send_requests
from tests.hostile.system import running_servers

Progress = Callable[[str, float], None]
"""Told how many messages were `sent` and `processed`, and how many requests `answered`, by now."""


async def run(directory: Path, messages: int, requests: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What happened, as JSON; `clean` when nothing was wrong."""
    found: dict[str, Any] = {"seed": seed}
    with running_servers(directory) as system:
        await system.start()
        if messages:
            found["kafka"] = await send_messages(system, messages, seed, progress)
        if requests:
            found["http"] = await send_requests(system, requests, seed, progress)
    found["clean"] = not found.get("kafka", {}).get("wrong") and not found.get("http", {}).get("failures")
    return found
