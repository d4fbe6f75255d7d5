"""The four ways in which things go wrong, each with one treatment everywhere.

A *refusal* is a value and not in this list: the domain said no. `Transient` means try later: consumers pause and
retry, HTTP answers 503. `Poison` means never: consumers write a dead letter, HTTP answers 400. `OutcomeUnknown` means
asked and not answered: the caller records `unknown` and asks again later. Anything else is our mistake.
"""


class Transient(Exception):
    """The same request may succeed later (database or broker away, serialization failure)."""


class Poison(Exception):
    """This message can never be processed; `reason` is a stable code, the text says what is wrong with it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def bare(self) -> "Poison":
        """The same as a value. What was raised refers to the frames that it came through; kept in one of their lists,
        it would keep the whole batch in memory until somebody looks for cycles."""
        return Poison(self.reason, self.detail)


class OutcomeUnknown(Exception):
    """A foreign call got no answer: it may or may not have happened."""
