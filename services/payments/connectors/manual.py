"""Money that people take with their own hands: cash, cheques, transfers, terminals that nobody here talks to."""

from services.payments.core.asking import Answer, Approved, Asked, Declined, Found, Means

_TAKES = ("cash", "check", "bank_transfer", "external")


class ManualConnector:
    """Believes whoever says that the money is there, so it keeps nothing and loses nothing.

    An answer follows from the question alone: a repeat and a look-up have the same one.
    """

    name = "manual"

    def objection(self, means: Means) -> str | None:
        """It takes what can be handed over; a payment that was taken elsewhere must be named."""
        if means.type not in _TAKES:
            return f"A payment by {means.type} cannot be taken by hand."
        if means.type == "external" and not means.reference:
            return "A payment that was taken elsewhere needs its reference."
        if means.tendered_minor is not None and means.type != "cash":
            return "Only cash is tendered."
        return None

    async def authorize(self, asked: Asked) -> Answer:
        """The money is collected where `asked.capture`, otherwise held in hand; too little cash is declined."""
        return _answer(asked)

    async def capture(self, asked: Asked) -> Answer:
        """What is in hand is the merchant's."""
        return _answer(asked)

    async def void(self, asked: Asked) -> Answer:
        """It is handed back."""
        return _answer(asked)

    async def refund(self, asked: Asked) -> Answer:
        """It is paid out."""
        return _answer(asked)

    async def look_up(self, asked: Asked) -> Found:
        """What was answered."""
        return _answer(asked)


def _answer(asked: Asked) -> Approved | Declined:
    tendered = asked.means.tendered_minor
    if asked.operation != "authorize":
        return Approved(asked.attempt_id, asked.amount_minor)
    if tendered is not None and tendered < asked.amount_minor:
        return Declined("tendered_too_little", "Less cash was handed over than the amount.")
    return Approved(asked.attempt_id, asked.amount_minor, captured=asked.capture)
