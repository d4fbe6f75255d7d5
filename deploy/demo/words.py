"""How the stories are told and checked."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import Console

from deploy.local.problem import RuntimeProblem
from shared.money import format_money

Json = dict[str, Any]
T = TypeVar("T")

PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.02

console = Console(highlight=False, soft_wrap=True)


def heading(text: str) -> None:
    """The next story begins."""
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def say(text: str) -> None:
    """What was done, or what came of it."""
    console.print(f"  {text}")


def money(money: Json) -> str:
    """As people read it."""
    return format_money(money["amount"], money["currency"])


def euros(amount: int) -> Json:
    """So many cents."""
    return {"amount": amount, "currency": "EUR"}


def expect(found: object, wanted: object, what: str) -> None:
    """A story that goes otherwise is not told on."""
    if found != wanted:
        raise RuntimeProblem(f"{what} should be {wanted}, and is {found}. That is a defect of Throughline.")


def eventually(look: Callable[[], T | None], what: str) -> T:
    """What is found, once it is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(_LOOK_EVERY_S)
    raise RuntimeProblem(f"Waited {PATIENCE_S:.0f} s in vain for {what}. Look at: throughline status")
