"""The orders that an item may belong to, as an answer shows them."""

from services.payments.core.proposals import Proposal, clues_of, rank
from services.payments.core.state import Item
from services.payments.http.models import MatchProposal, MatchReason
from services.payments.store import orders
from shared.contracts.model import Money
from shared.postgres import Pool


async def proposals_for(pool: Pool, item: Item) -> list[MatchProposal]:
    """The likeliest first; only orders of the item's tenant."""
    clues = clues_of(item, await orders.customer_of(pool, item))
    if clues is None:
        return []
    return [_shown(each) for each in rank(item, clues, await orders.candidates(pool, item, clues))]


def _shown(proposal: Proposal) -> MatchProposal:
    order = proposal.order
    return MatchProposal(
        order_id=order.order_id,
        external_reference=order.external_reference,
        status=order.status,
        outstanding_money=Money(amount=order.outstanding_minor, currency=order.currency),
        score=proposal.score,
        reasons=[MatchReason(code=reason.code, detail=reason.detail) for reason in proposal.reasons],
    )
