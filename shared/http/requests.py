"""What a request asks for in its headers: how long to wait for the outcome, and in which version to be answered."""

import re
from typing import Any

from litestar.connection import ASGIConnection

from shared.http.problems import Problem
from shared.http.request_ids import request_id_of

API_VERSIONS: tuple[str, ...] = ("2026-11-01",)
"""The versions of the API that are answered, the newest last."""
VERSION_HEADER = "Throughline-Version"

DEFAULT_WAIT_S = 10
LONGEST_WAIT_S = 30

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)

Connection = ASGIConnection[Any, Any, Any, Any]

__all__ = [
    "API_VERSIONS",
    "DEFAULT_WAIT_S",
    "LONGEST_WAIT_S",
    "VERSION_HEADER",
    "asked_version",
    "request_id_of",
    "wait_s",
]


def wait_s(request: Connection) -> int:
    """Seconds to wait for the outcome before answering 202 (RFC 7240 `Prefer: wait=N`): 10 unless said, at most 30."""
    found = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(found.group(1)), LONGEST_WAIT_S) if found else DEFAULT_WAIT_S


def asked_version(request: Connection) -> str | None:
    """The version in `Throughline-Version`, None when there is none; one that is not answered is refused."""
    version = request.headers.get(VERSION_HEADER)
    if version is None or version in API_VERSIONS:
        return version
    detail = f"{VERSION_HEADER} must be one of: {', '.join(API_VERSIONS)}."
    raise Problem("VALIDATION_FAILED", detail, param=VERSION_HEADER)
