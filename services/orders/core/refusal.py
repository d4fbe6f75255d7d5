"""How the domain says no: a value with a stable code, the facts behind it and the objects in the way."""

from dataclasses import field
from typing import Any

from shared.contracts.model import Blocker
from shared.immutable import immutable


@immutable
class Refusal:
    """`code` has one meaning for ever; `param` names the field that was wrong, where one was."""

    code: str
    detail: str
    facts: dict[str, Any] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
    param: str | None = None
