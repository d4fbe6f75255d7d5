"""Money that goes back by the processor that collected it: once, and its order knows of it."""

from collections import defaultdict

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.ledger import Ledger
from tests.simulation.auditor.seen import Seen
from tests.simulation.world_api import OUR_CHANNEL, Row


def audit_returns(seen: Seen, ledger: Ledger) -> None:
    """Every refund of the acquirer is on its order, and follows from one unmatched item; nobody else gives back."""
    _orders_know(seen, ledger)
    asked: dict[str, list[Row]] = defaultdict(list)
    for attempt in seen.rows("payments.payment_attempts"):
        item_id = orjson.loads(attempt["asked"]).get("unmatched_money_id")
        if item_id is not None:
            asked[item_id].append(attempt)
    back = {attempt_id: amount for _, attempt_id, amount in ledger.refunds.values()}
    items = {item["unmatched_money_id"]: item for item in seen.rows("payments.unmatched_money")}
    for name, item in items.items():
        if item["channel_id"] == OUR_CHANNEL:
            attempts = asked.pop(name, [])
            _went_back(seen, item, attempts, [back.pop(each["attempt_id"], 0) for each in attempts], ledger)
            _is_somewhere(seen, item, items.get(item["replaced_by"]))
    for attempt_id, amount in back.items():
        seen.say(Invariant.NOTHING_INVENTED, f"{amount} went back by {attempt_id}, which is for nothing")


def _went_back(seen: Seen, item: Row, attempts: list[Row], amounts: list[int], ledger: Ledger) -> None:
    """All of it by one attempt where it says so, otherwise nothing; what was refused was asked for once."""
    name = item["unmatched_money_id"]
    wanted = [item["amount_minor"]] if item["status"] == "returned" and item["replaced_by"] is None else []
    if [amount for amount in amounts if amount] != wanted:
        seen.say(Invariant.GOES_BACK_ONCE, f"{name} is {item['status']}, and {amounts} went back", item["order_id"])
    declined = [attempt for attempt in attempts if attempt["outcome"] == "Declined"]
    refused = sum(attempt["attempt_id"] not in ledger.came_back for attempt in declined)
    if refused > 1 or (refused and item["refusal"] is None):
        sentence = f"{name} was refused {refused} times, and says {item['refusal']}"
        seen.say(Invariant.GOES_BACK_ONCE, sentence, item["order_id"])


def _is_somewhere(seen: Seen, item: Row, again: Row | None) -> None:
    """What came back after its item had ended is another item's, as much as it was, until somebody has seen why."""
    if item["status"] != "returned" or item["replaced_by"] is None:
        return
    if again is None or again["amount_minor"] != item["amount_minor"] or again["refusal"] != "refund_failed":
        sentence = f"{item['amount_minor']} of {item['unmatched_money_id']} came back, and is in no item"
        seen.say(Invariant.GOES_BACK_ONCE, sentence, item["order_id"])


def _orders_know(seen: Seen, ledger: Ledger) -> None:
    told = {
        (str(leg[3]), reference): int(leg[0])
        for fold in seen.folds.values()
        for refund in fold.refunds.values()
        for reference, leg in refund.legs.items()
        if not leg[2]
    }
    payments = {
        leg.reference: (order_id, leg.payment_id) for order_id, fold in seen.folds.items() for leg in fold.legs.values()
    }
    for name, (payment, _, amount) in ledger.refunds.items():
        order_id, payment_id = payments.get(payment, (None, ""))
        if told.pop((payment_id, name), None) != amount:
            sentence = f"{amount} of {payment} went back, and its order does not know"
            seen.say(Invariant.LEDGER_IS_ON_ORDERS, sentence, order_id)
    for _, name in told:
        if name.startswith("sbm_"):
            seen.say(Invariant.NOTHING_INVENTED, f"the acquirer knows nothing of the refund {name}")
