"""Lines on standard error, JSON for programs or text for people, of our events and of libraries; never a payload."""

import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

import orjson
import structlog
from structlog.types import EventDict, Processor

_FRAMES = 15
_REPEAT_AFTER_S = 10.0
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ROUTINE = ("Heartbeat failed for group %s because it is rebalancing",)
"""What libraries warn of although it is how things go: every start of a second consumer."""
_TALKATIVE = ("aiokafka", "httpx2", "httpcore2", "urllib3", "opentelemetry")


def write_lines(level: str, form: Literal["json", "text"], *extra: Processor) -> None:
    """Every log line of this process has this form from now on; `extra` processors add fields. A repeat replaces it."""
    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        *extra,
        without_messages,
    )
    renderer: Processor = structlog.processors.JSONRenderer(serializer=_json) if form == "json" else as_text
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    handler.addFilter(NotTooOften())
    logging.root.handlers = [handler]
    logging.root.setLevel(_LEVELS[level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[level]))


def without_messages(_: Any, __: str, event: EventDict) -> EventDict:
    """An exception as its type and the lines that it came through: its text may quote a payload or a secret."""
    given = event.pop("exc_info", None)
    failure = _exception_of(given)
    if failure is not None:
        event["exception"] = [type(link).__name__ for link in _chain(failure)]
        frames = traceback.extract_tb(failure.__traceback__)[-_FRAMES:]
        event["stack"] = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def as_text(_: Any, __: str, event: EventDict) -> str:
    """One event for a person at a terminal: `00:09:07 warning dead_letter reason=… topic=…`."""
    at, level, what = (str(event.pop(name, "")) for name in ("at", "level", "event"))
    event.pop("service", None)
    stack = event.pop("stack", ())
    frames = stack.splitlines() if isinstance(stack, str) else stack
    line = " ".join([at[11:19], level, what, *(f"{name}={value}" for name, value in event.items())])
    return "\n    ".join([line, *(frame.strip() for frame in frames)])


class NotTooOften(logging.Filter):
    """Lets a library say the same thing once in ten seconds, for in an outage they repeat themselves; routine never."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg in _ROUTINE:
            return False
        line, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._last.get(line, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S:
            return False
        if len(self._last) > 1_000:
            self._last.clear()
        self._last[line] = now
        return True


def _exception_of(given: Any) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        failure = given[1]
        return failure if isinstance(failure, BaseException) else None
    return sys.exc_info()[1] if given else None


def _chain(failure: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = failure
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
