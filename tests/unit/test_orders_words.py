"""What orders and customers are found by."""

from services.orders.customers import Tenant
from services.orders.store.search import search_texts
from services.orders.words import lexemes
from shared.contracts import order_commands as c
from shared.contracts.order_parts import Context, LineItem
from tests.unit.test_orders_money import accepted


def test_a_large_order_is_found_by_its_number_and_reference_and_the_skus_before_names() -> None:
    lines = tuple(
        LineItem(line_item_id=f"li_{number}", name=f"Aaa {number}a", sku=f"B{number:03}", unit_price_minor=1)
        for number in range(400)
    )
    order = accepted(
        None, c.CreateOrder(currency="EUR", line_items=lines, context=Context(external_reference="web-zzz"))
    )
    words = lexemes(search_texts(order), "mark")
    assert len(words) == 300
    assert {"mark:1001", "mark:web", "mark:zzz", "mark:b000", "mark:b296"} <= set(words)
    assert not {"mark:b297", "mark:aaa"} & set(words)


def test_words_are_indexed_once_and_sorted() -> None:
    assert lexemes(["Tee Café", None, "cafe tee 1"], "mark") == ["mark:1", "mark:cafe", "mark:tee"]


def test_a_customer_with_a_very_long_name_is_found_by_the_rest() -> None:
    name = " ".join(f"a{number}" for number in range(400))
    customer = {"name": name, "email": "zz@example.org", "phone": "+4930123456", "external_reference": "zoe-1"}
    found = {word.partition(":")[2] for word in Tenant("mer_1", "test").words(customer)}
    assert {"zz", "example", "4930123456", "zoe", "a0"} <= found
