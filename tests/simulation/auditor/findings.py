"""What must hold, each with the place that promises it, and what was found not to."""

from dataclasses import dataclass
from enum import Enum


class Invariant(Enum):
    """Name → the promise and where it is made (paths are under docs/, or a contract's name)."""

    NOTHING_LOST = "What was acknowledged has its effect (concepts/facts-and-requests, What can go wrong)"
    NOTHING_TWICE = "One effect, however often it is said (concepts/facts-and-requests, Repeats)"
    NOTHING_INVENTED = "Nothing happens that nobody asked for or told of"
    VERSIONS_GAP_FREE = "Versions are 1, 2, 3 … without a gap (concepts/order, Version)"
    FIRST_IN_ORDER = "First occurrences on orders.events are in order (concepts/order, Version)"
    REPEATS_SAY_THE_SAME = "A message that comes again says the same (concepts/facts-and-requests, Repeats)"
    ONE_OUTCOME = "Exactly one outcome per command id, for ever the same (concepts/facts-and-requests, Repeats)"
    ASKED_AGAIN_ANSWERED_AGAIN = "The outcome is given again (docs/concepts/facts-and-requests.md, Repeats)"
    OUTCOME_RECORDED = "The outcome is recorded once, with its effect (decisions/0003)"
    OUTCOME_BY_THE_RULES = "What the order answers follows from what it was (concepts/order, concepts/lease)"
    DOES_WHAT_IT_SAYS = "An accepted command made exactly the version that it says (orders.command_accepted.v1)"
    LEASES_NOT_OVER_GRANTED = "Leased, held and collected never exceed the net total at a grant (concepts/lease)"
    HOLDERS_DO_NOT_OVER_COLLECT = "Holders within their leases cannot collect twice (concepts/lease)"
    FACTS_ARE_TAKEN = "A fact is refused for its currency or a contradiction only (concepts/facts-and-requests)"
    CANCELED_OWES_NOTHING = "A canceled order owes nothing, and its money is a credit (decisions/0006)"
    REFUNDS_WITHIN_COLLECTED = "Reserved refunds never exceed what was collected (orders.reserve_refund.v1)"
    IDENTITIES = "Totals, settlement and balances agree in every version (concepts/order)"
    ANNOUNCED = "Becoming paid or overpaid is told with the version (orders.order_paid.v1, …overpaid.v1)"
    HISTORY_IS_TOLD = "orders.events says what the history says (concepts/order, Version)"
    HISTORY_FOLDS_TO_STATE = "The stored order is the fold of its history (concepts/order)"
    ORDER_AS_ASKED = "An order begins as it was asked for (orders.create_order.v1)"
    OUTBOX_EMPTY = "Nothing waits to go out (decisions/0002)"
    NOTHING_SENT_FOR_EVER = "Every channel event comes to an end (concepts/facts-and-requests)"
    PAYMENTS_KNOW_ORDERS = "Payments know every order as it is (orders.order_version.v1)"
    GARBAGE_IS_A_DEAD_LETTER = "What cannot be read is a dead letter with its reason, nothing else is (as above)"
    UNMATCHED_AS_EXPECTED = "Money that fits nowhere is one item of its kind (payments.unmatched_money_found.v1)"
    MONEY_IN_IS_SOMEWHERE = "What channels told of is on orders or unmatched, to the cent"
    EVERYTHING_SETTLES = "An outage only postpones (docs/concepts/facts-and-requests.md, What can go wrong)"
    PROCESSES_ARE_WELL = "Processes neither end by themselves nor stay unwell"
    EVENTS_ONCE = "Every version gives its public events once, in order, with one id each (concepts/events)"
    TOPICS_IN_ORDER = "First occurrences of an order's events on a plugin topic are in order (concepts/events)"
    NOTHING_WITHOUT_CONSENT = "An app is told of merchants that let it in, and of nothing later (concepts/events)"
    WEBHOOKS_ONE_BY_ONE = "An order's next event is sent when the one before was received (concepts/webhooks)"
    WEBHOOKS_ARRIVE = "A webhook arrives at least once, or is shown as waiting or failed (concepts/webhooks)"
    NOBODY_IS_HELD_UP = "A receiver that does not answer delays no other (concepts/webhooks, decisions/0014)"
    ANSWERS_STAY = "A key gets one answer (decisions/0004)"
    REQUESTS_ARE_UNDERSTOOD = "Whoever may do everything is answered, and never with 401, 403 or 500"
    LEDGER_IS_ON_ORDERS = "What the acquirer holds and has collected is on its order (concepts/payments, 3)"
    COLLECTED_ONCE = "Intents collect no more than is owed, and no try collects twice (concepts/payments, 1)"
    SAVED_BEFORE_ASKED = "What a processor is asked was saved before (concepts/payments, 2)"
    LEASED_BEFORE_ASKED = "No processor moves money without a lease on its order (concepts/payments, 1)"
    INTENTS_COME_TO_REST = "Every intent comes to rest, and leases nothing then (concepts/payments, Unknown)"
    TRIED_AGAIN = "A capture or void that never arrives is asked for again (concepts/payments, Unknown)"
    ALL_OR_NONE = "Several sources collect when all hold their part, or none does (concepts/payments, legs)"
    NO_FALSE_END = "What is told to have ended has, and fails only where somebody said no (concepts/payments)"
    GOES_BACK_ONCE = "Overdue money goes back once, or says why not (concepts/unmatched-money, Deadline)"
    INTENTS_SAY_WHAT_IS = "Intents say what their orders and the acquirer say (concepts/payments)"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence that names the thing."""

    invariant: Invariant
    sentence: str
    order_id: str | None = None

    def __str__(self) -> str:
        return f"{self.invariant.name.lower()}: {self.order_id or ''}: {self.sentence}"
