"""The interface of a connector. Every one passes tests/contract/connectors."""

from typing import Protocol

from services.payments.core.asking import Answer, Asked, Found, Means


class Connector(Protocol):
    """One processor, or the drawer of a shop.

    No method raises for what a processor or a network does: whatever has no clear answer is `Unknown`. Each call has a
    time limit of its own. Asking again with the same `attempt_id` gives the first answer again.
    """

    name: str
    """As metrics and attempts call it: `sandbox`, `manual`."""

    def objection(self, means: Means) -> str | None:
        """Why this cannot be paid with here, in a sentence for whoever asked; `None` when it can be tried."""
        ...

    async def authorize(self, asked: Asked) -> Answer:
        """Hold the money, or collect it in the same step where `asked.capture`."""
        ...

    async def capture(self, asked: Asked) -> Answer:
        """Collect `amount_minor` of the authorization that `asked.reference` names; several parts are possible."""
        ...

    async def void(self, asked: Asked) -> Answer:
        """Let go of what is left of an authorization, or of `amount_minor` of it."""
        ...

    async def refund(self, asked: Asked) -> Answer:
        """Give `amount_minor` back of what was captured."""
        ...

    async def look_up(self, asked: Asked) -> Found:
        """What became of an attempt. It moves nothing."""
        ...
