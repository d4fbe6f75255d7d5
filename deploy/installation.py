"""What one local installation remembers between runs, and where it can be reached while it runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.datadir import holder


class Installation:
    """The two small files in a data directory: `state.json` with its secrets, `running.json` while it runs."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._state = data_dir / "state.json"
        self._running = data_dir / "running.json"

    def load_state(self) -> dict[str, Any]:
        """What was saved last; empty at first."""
        return _read(self._state)

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace what is remembered, in one step; only this user may read it."""
        _write(self._state, state)

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """A secret that is made once and remembered."""
        state = self.load_state()
        if name not in state:
            state |= {name: make()}
            self.save_state(state)
        return str(state[name])

    def announce(self, where: dict[str, Any]) -> None:
        """Tell other processes where this installation can be reached."""
        _write(self._running, where)

    def withdraw(self) -> None:
        """Nothing is announced afterwards."""
        self._running.unlink(missing_ok=True)

    def where(self) -> dict[str, Any] | None:
        """Where it can be reached; None when it isn't running, or not yet ready."""
        return (_read(self._running) or None) if holder(self.data_dir) is not None else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
