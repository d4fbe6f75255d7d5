"""Money that no order answers to, and how it finds its end."""

from deploy.demo.shop import Shop
from deploy.demo.words import Json, eventually, expect, say
from shared.ids import new_id


def money_finds_its_order(shop: Shop) -> None:
    """Money for orders that nobody knows: one comes late and is matched, the other was called by a wrong name."""
    _the_order_comes_late(shop)
    _the_name_is_wrong(shop)


def _the_order_comes_late(shop: Shop) -> None:
    name = _name()
    item = _paid_for(shop, name, 2500)
    say(f"25.00 EUR for {name}, which is no order yet: kept, and shown as [bold]{item['kind']}[/bold]")
    order = shop.sell("Gift box", 2500, reference=name)
    shop.wait_for(order, "paid")
    _ended(shop, item, order)
    say(f"the order {name} is made: its money is on it at once")


def _the_name_is_wrong(shop: Shop) -> None:
    name = _name()
    order = shop.sell("Desk lamp", 6500, reference=name)
    item = _paid_for(shop, name.replace("web-", "WEB "), 6500)
    say(f"65.00 EUR for {item['external_reference']}: {item['detail']}")

    def proposed() -> Json | None:
        found = shop.get(f"/v1/unmatched-money/{item['unmatched_money_id']}")["proposals"]
        return next((each for each in found if each["order_id"] == order["order_id"]), None)

    proposal = eventually(proposed, "the order to be proposed")
    reasons = " ".join(reason["detail"] for reason in proposal["reasons"])
    say(f"proposed: {proposal['external_reference']}. {reasons}")
    shop.post(f"/v1/unmatched-money/{item['unmatched_money_id']}/attach", {"order_id": order["order_id"]})
    _ended(shop, item, order)
    say("somebody attaches it")
    shop.tell_end(order, "paid", 6500)


def _paid_for(shop: Shop, name: str, amount: int) -> Json:
    """The item of a payment that the channel tells of under this name."""
    told = shop.capture_told(amount, external_reference=name)
    shop.topic.publish(*shop.topic.captured(name, told))

    def found() -> Json | None:
        items = shop.get("/v1/unmatched-money", kind="unknown_order", page_size=100)
        return next((item for item in items if item["payment_reference"] == told["payment_reference"]), None)

    return eventually(found, "the money to be shown")


def _ended(shop: Shop, item: Json, order: Json) -> None:
    def attached() -> Json | None:
        found: Json = shop.get(f"/v1/unmatched-money/{item['unmatched_money_id']}")
        return found if found["status"] == "attached" else None

    expect(eventually(attached, "the item to end")["order_id"], order["order_id"], "Whose money it is")


def _name() -> str:
    return f"web-{new_id('demo')[-8:].lower()}"
