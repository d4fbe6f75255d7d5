"""The auditor: compares what models did with what there is. It knows the public contract and no service's code."""

from collections.abc import Collection

from tests.simulation.auditor.apps import audit_apps
from tests.simulation.auditor.channels import audit_channels
from tests.simulation.auditor.findings import Finding, Invariant
from tests.simulation.auditor.intents import audit_intents
from tests.simulation.auditor.left_over import audit_left_over
from tests.simulation.auditor.orders import audit_orders
from tests.simulation.auditor.seen import see
from tests.simulation.books import Books
from tests.simulation.world_api import Evidence

__all__ = ["Finding", "Invariant", "audit", "glance"]


def audit(books: Books, evidence: Evidence, finished: bool) -> list[Finding]:
    """Everything that is wrong. `finished`: nothing is under way any more, so what is missing is lost."""
    seen = see(books, evidence, finished, lambda _: True)
    audit_orders(seen)
    audit_channels(seen)
    audit_left_over(seen)
    if finished:
        audit_intents(seen)
        audit_apps(seen)
    return seen.findings


def glance(books: Books, evidence: Evidence, order_ids: Collection[str]) -> list[Finding]:
    """What is wrong with some orders at any moment: what is there must be right, however much is still to come."""
    seen = see(books, evidence, False, set(order_ids).__contains__)
    audit_orders(seen)
    return seen.findings
