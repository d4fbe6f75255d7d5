"""The auditor finds what is wrong with what intents collect: an honest world is spoilt in one way after another."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.simulation.auditor import Invariant, audit
from tests.simulation.books import Collecting
from tests.simulation.toy import MERCHANT, ToyWorld
from tests.simulation.world_api import COMMANDS, OUR_CHANNEL, PAYMENTS_EVENTS, Json, Question

ORDER = "ord_A"
_WAYS = {"hold": ("holder", "held"), "capture": ("held", "merchant"), "sale": ("holder", "merchant")}
ENTRIES, INTENTS = "sandbox.entries", "payments.payment_intents"


def honest() -> ToyWorld:
    """An order that two cards pay together: both are leased for, held, and collected."""
    world = ToyWorld()
    world.create(ORDER, 1000)
    world.books.by_intents.add(ORDER)
    for number, amount in ((1, 600), (2, 400)):
        lease(world, number, amount)
        hold(world, number, amount)
    collect(world, 1, 600, "order_partially_paid")
    collect(world, 2, 400, "order_paid")
    shown = [{"payment_intent_id": f"pi_{number}", "order_id": ORDER} for number in (1, 2)]
    asked = Collecting(ORDER, "key_1", f"/v1/orders/{ORDER}/pay", {"legs": [{}, {}]})
    asked.answers.append((200, {"data": {"payment_intents": shown}}))
    world.books.collecting.append(asked)
    world.settle()
    return world


def lease(world: ToyWorld, number: int, amount: int, lease_id: str = "") -> None:
    """The order is asked for it, and grants it."""
    name = lease_id or f"ls_{number}"
    body: Json = {"lease_id": name, "holder": {"type": "payment_intent", "id": f"pi_{number}"}, "amount_minor": amount}
    world.ask(ORDER, f"pi_{number}.lease.{name}", "acquire_lease", ours=False, **body, term_s=300)
    world.happen(ORDER, f"pi_{number}.lease.{name}", ("lease_granted", body | {"expires_at": "2026-11-22T01:00:00Z"}))


def hold(world: ToyWorld, number: int, amount: int) -> None:
    """The acquirer is asked, and the order told."""
    world.evidence.questions.append(Question(1.0, f"att_{number}", "authorize", ORDER, f"pi_{number}", amount))
    about: Json = {"payment_id": f"sbp_{number}", "attempt_id": f"att_{number}"}
    of: Json = {"payment_intent_id": f"pi_{number}", "order_id": ORDER, "token": "sandbox_approve"}
    world.rows("sandbox.payments").append(about | of)
    world.rows("sandbox.attempts").append(about | {"answer": '{"status":"approved"}'})
    move(world, number, "hold", amount)
    said: Json = fact(number, amount) | {"lease_id": f"ls_{number}"}
    world.ask(ORDER, f"pi_{number}.fact.2", "record_authorization", ours=False, **said, currency="EUR")
    world.happen(ORDER, f"pi_{number}.fact.2", ("payment_authorized", said))


def collect(world: ToyWorld, number: int, amount: int, announced: str) -> None:
    """Captured, on the order, and told to everybody."""
    move(world, number, "capture", amount)
    said = fact(number, amount) | {"capture_reference": f"att_{number}c"}
    world.ask(ORDER, f"pi_{number}.fact.3", "record_capture", ours=False, **said, currency="EUR")
    world.happen(ORDER, f"pi_{number}.fact.3", ("payment_captured", said), (announced, {}))
    state = {"connector": "sandbox", "captured_minor": amount, "legs": 2}
    row = {"payment_intent_id": f"pi_{number}", "order_id": ORDER, "group_id": "pi_1", "status": "succeeded"}
    world.rows(INTENTS).append(row | {"settled": True, "state": orjson.dumps(state).decode()})
    for version, status in ((1, "processing"), (2, "succeeded")):
        tell(world, number, version, status, amount if version == 2 else 0)


def tell(world: ToyWorld, number: int, version: int, status: str, captured: int) -> None:
    intent: Json = {"payment_intent_id": f"pi_{number}", "version": version, "status": status}
    intent |= {"payment_id": f"pay_{number}", "captured_money": {"amount": captured}}
    headers = {"ce_id": f"pi_{number}.{status}.{version}", "ce_type": f"payments.payment_intent_{status}.v1"}
    body = orjson.dumps({"payment_intent": intent})
    world.lay(PAYMENTS_EVENTS, ORDER, body, **headers, ce_merchantid=MERCHANT)


def fact(number: int, amount: int) -> Json:
    return {"payment_id": f"pay_{number}", "payment_reference": f"sbp_{number}", "amount_minor": amount}


def move(world: ToyWorld, number: int, kind: str, amount: int) -> None:
    source, target = _WAYS[kind]
    for account, minor in ((source, -amount), (target, amount)):
        row = {"movement_id": f"{kind}_{number}", "account": account, "amount_minor": minor, "kind": kind}
        world.rows(ENTRIES).append(row | {"payment_id": f"sbp_{number}"})


def state(world: ToyWorld, position: int, **changes: object) -> None:
    row = world.rows(INTENTS)[position]
    row["state"] = orjson.dumps(orjson.loads(row["state"]) | changes).decode()


def failed(world: ToyWorld) -> None:
    """The second leg brought nothing, and the first was collected all the same."""
    world.rows(INTENTS)[1]["status"] = "failed"
    state(world, 1, captured_minor=0)


def early(world: ToyWorld) -> None:
    """The first leg is collected before the second is held."""
    rows = world.rows(ENTRIES)
    rows[2:6] = [*rows[4:6], *rows[2:4]]


def twice(world: ToyWorld) -> None:
    """The second leg is authorized again, as if it were another payment."""
    world.rows("sandbox.payments").append(world.rows("sandbox.payments")[1] | {"payment_id": "sbp_3"})
    world.rows("sandbox.attempts").append(world.rows("sandbox.attempts")[1] | {"payment_id": "sbp_3"})
    move(world, 3, "sale", 400)


def asked(world: ToyWorld, **changes: Any) -> None:
    world.evidence.questions[0] = replace(world.evidence.questions[0], **changes)


def released(world: ToyWorld) -> None:
    """Before the acquirer is asked."""
    world.ask(ORDER, "pi_1.release.9", "release_lease", ours=False, lease_id="ls_1", holder={"id": "pi_1"})
    world.records(COMMANDS)[-1] = world.records(COMMANDS)[-1]._replace(at_s=0.5)


def kept(world: ToyWorld) -> None:
    lease(world, 1, 1, "ls_left")


def promised(world: ToyWorld, *names: str) -> None:
    data = {"payment_intents": [{"payment_intent_id": name, "order_id": ORDER} for name in names]}
    world.books.collecting[0].answers.append((200, {"data": data}))


def unheard(world: ToyWorld) -> None:
    """The first is to be captured, and the acquirer never hears of it."""
    world.rows("sandbox.payments")[0]["token"] = "sandbox_lost_request_on_capture"
    wish = Collecting(ORDER, "key_2", "/v1/payment-intents/pi_1/capture", {})
    wish.answers.append((202, {"data": {"payment_intent_id": "pi_1", "order_id": ORDER}}))
    world.books.collecting.append(wish)


def said_to_have(world: ToyWorld, status: str) -> None:
    """Whoever asked about the first leg was told so."""
    shown = {"payment_intent_id": "pi_1", "order_id": ORDER, "status": status}
    second = {"payment_intent_id": "pi_2", "order_id": ORDER}
    world.books.collecting[0].answers.append((202, {"data": {"payment_intents": [shown, second]}}))


def went_back(
    world: ToyWorld, *, told: bool = True, amounts: tuple[int, ...] = (400,), status: str = "returned"
) -> None:
    """The second leg was too much, and is given back by the acquirer."""
    item: Json = {"unmatched_money_id": "um_1", "channel_id": OUR_CHANNEL, "event_id": "pi_2.fact.3"}
    item |= {"status": status, "kind": "surplus", "amount_minor": 400, "refusal": None, "order_id": ORDER}
    item |= {"replaced_by": None, "split_from": None}
    world.rows("payments.unmatched_money").append(item)
    for number, amount in enumerate(amounts):
        asked = orjson.dumps({"unmatched_money_id": "um_1"}).decode()
        attempt = {"attempt_id": f"att_back{number}", "asked": asked, "outcome": "Approved" if amount else "Declined"}
        world.rows("payments.payment_attempts").append(attempt)
        if amount:
            about: Json = {"movement_id": f"sbm_{number}", "kind": "refund", "attempt_id": f"att_back{number}"}
            for account, minor in (("merchant", -amount), ("holder", amount)):
                row = about | {"account": account, "amount_minor": minor, "payment_id": "sbp_2"}
                world.rows(ENTRIES).append(row)
    if told:
        body: Json = {"refund_id": "ref_1", "refund_reference": "sbm_0", "payment_id": "pay_2", "amount_minor": 400}
        world.ask(ORDER, "um_1.1", "record_refund", ours=False, **body, currency="EUR", effect="reopen_balance")
        said = body | {"payment_reference": "sbp_2", "returned_minor": 0, "effect": "reopen_balance"}
        world.happen(ORDER, "um_1.1", ("refund_recorded", said))


def came_back(world: ToyWorld, *, told: bool = True, again: int | None = 400) -> None:
    """What the second leg was too much was given back, and the buyer's bank sent it back."""
    went_back(world)
    world.rows("payments.payment_attempts")[-1]["outcome"] = "Declined"
    about: Json = {"movement_id": "sbm_0_reversal", "kind": "refund_reversal", "attempt_id": "att_back0"}
    for account, minor in (("holder", -400), ("merchant", 400)):
        world.rows(ENTRIES).append(about | {"account": account, "amount_minor": minor, "payment_id": "sbp_2"})
    ended = world.rows("payments.unmatched_money")[-1]
    ended["replaced_by"] = "um_2"
    if again is not None:
        anew = {"unmatched_money_id": "um_2", "status": "open", "replaced_by": None, "split_from": "um_1"}
        anew |= {"refusal": "refund_failed"}
        world.rows("payments.unmatched_money").append(ended | anew | {"amount_minor": again})
    if told:
        body: Json = {"refund_id": "ref_1", "refund_reference": "sbm_0"}
        world.ask(ORDER, "um_1.2", "reverse_refund", ours=False, **body)
        world.happen(ORDER, "um_1.2", ("refund_reversed", body))


SPOILT: list[tuple[Invariant, Callable[[ToyWorld], Any]]] = [
    (Invariant.LEDGER_IS_ON_ORDERS, lambda world: world.rows(ENTRIES)[-1].update(amount_minor=399)),
    (Invariant.LEDGER_IS_ON_ORDERS, lambda world: world.rows(ENTRIES).pop()),
    (Invariant.LEDGER_IS_ON_ORDERS, lambda world: world.rows(ENTRIES)[-2].update(amount_minor=-399)),
    (Invariant.NOTHING_INVENTED, lambda world: world.rows("sandbox.payments")[1].update(payment_intent_id="pi_9")),
    (Invariant.NOTHING_INVENTED, lambda world: world.evidence.questions.pop()),
    (Invariant.NOTHING_INVENTED, lambda world: world.books.collecting[0].body["legs"].pop()),
    (Invariant.NOTHING_INVENTED, lambda world: tell(world, 9, 1, "processing", 0)),
    (Invariant.COLLECTED_ONCE, twice),
    (Invariant.COLLECTED_ONCE, lambda world: setattr(world.books.wanted[ORDER], "total", 999)),
    (Invariant.SAVED_BEFORE_ASKED, lambda world: asked(world, saved=False)),
    (Invariant.LEASED_BEFORE_ASKED, lambda world: asked(world, at_s=301.0)),
    (Invariant.LEASED_BEFORE_ASKED, lambda world: asked(world, at_s=-1.0)),
    (Invariant.LEASED_BEFORE_ASKED, released),
    (Invariant.INTENTS_COME_TO_REST, lambda world: world.rows(INTENTS)[0].update(settled=False)),
    (Invariant.INTENTS_COME_TO_REST, kept),
    (Invariant.TRIED_AGAIN, unheard),
    (Invariant.ALL_OR_NONE, failed),
    (Invariant.ALL_OR_NONE, early),
    (Invariant.INTENTS_SAY_WHAT_IS, lambda world: state(world, 0, captured_minor=599)),
    (Invariant.INTENTS_SAY_WHAT_IS, lambda world: state(world, 0, authorized_minor=1)),
    (Invariant.INTENTS_SAY_WHAT_IS, lambda world: tell(world, 1, 3, "canceled", 0)),
    (Invariant.INTENTS_SAY_WHAT_IS, lambda world: world.records(PAYMENTS_EVENTS).pop()),
    (Invariant.NO_FALSE_END, lambda world: said_to_have(world, "failed")),
    (Invariant.NO_FALSE_END, lambda world: said_to_have(world, "canceled")),
    (Invariant.NO_FALSE_END, failed),
    (Invariant.GOES_BACK_ONCE, lambda world: went_back(world, amounts=(400, 400))),
    (Invariant.GOES_BACK_ONCE, lambda world: went_back(world, amounts=(399,))),
    (Invariant.GOES_BACK_ONCE, lambda world: went_back(world, told=False, amounts=())),
    (Invariant.GOES_BACK_ONCE, lambda world: went_back(world, status="open")),
    (Invariant.GOES_BACK_ONCE, lambda world: went_back(world, told=False, amounts=(0, 0), status="return_due")),
    (Invariant.LEDGER_IS_ON_ORDERS, lambda world: went_back(world, told=False)),
    (Invariant.NOTHING_INVENTED, lambda world: went_back(world, amounts=())),
    (Invariant.NOTHING_INVENTED, lambda world: came_back(world, told=False)),
    (Invariant.GOES_BACK_ONCE, lambda world: came_back(world, again=None)),
    (Invariant.GOES_BACK_ONCE, lambda world: came_back(world, again=399)),
    (Invariant.FIRST_IN_ORDER, lambda world: tell(world, 1, 1, "unknown", 0)),
    (Invariant.ANSWERS_STAY, lambda world: promised(world, "pi_1")),
    (Invariant.NOTHING_LOST, lambda world: promised(world, "pi_1", "pi_9")),
    (Invariant.REQUESTS_ARE_UNDERSTOOD, lambda world: world.books.collecting[0].answers.append((401, {}))),
]


def test_an_honest_world_is_right() -> None:
    world = honest()
    assert list(map(str, audit(world.books, world.evidence, finished=True))) == []


@pytest.mark.parametrize("happens", [went_back, came_back])
def test_money_may_go_back_and_come_back(happens: Callable[[ToyWorld], None]) -> None:
    world = honest()
    happens(world)
    found = {finding.invariant for finding in audit(world.books, world.evidence, finished=True)}
    about_it = {Invariant.GOES_BACK_ONCE, Invariant.LEDGER_IS_ON_ORDERS, Invariant.NOTHING_INVENTED}
    assert found & about_it == set(), "the toy tells no events of it, which others find"


def test_what_is_never_heard_is_tried_for_ever() -> None:
    world = honest()
    unheard(world)
    world.rows(INTENTS)[0].update(settled=False)
    assert list(audit(world.books, world.evidence, finished=True)) == []


@pytest.mark.parametrize(("invariant", "spoil"), SPOILT)
def test_a_spoilt_one_is_found_out(invariant: Invariant, spoil: Callable[[ToyWorld], Any]) -> None:
    world = honest()
    spoil(world)
    assert invariant in {finding.invariant for finding in audit(world.books, world.evidence, finished=True)}
