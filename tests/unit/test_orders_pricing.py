"""What an order comes to: worked examples, to the cent."""

import pytest

from services.orders.core.pricing import price
from shared.contracts.order_parts import Charge, Discount, LineItem, Tax
from shared.money import exponent, format_money, spread, times

VAT = Tax(name="VAT", percentage="19", inclusive=True)
SALES_TAX = Tax(name="Sales tax", percentage="8.25")


def line(price_minor: int, quantity: str = "1", *taxes: Tax, number: int = 1) -> LineItem:
    return LineItem(
        line_item_id=f"li_{number}", name="Thing", quantity=quantity, unit_price_minor=price_minor, taxes=taxes
    )


def test_included_tax_is_taken_out_of_the_price() -> None:
    pricing = price([line(11900, "1", VAT)], [], [], 0)
    assert (pricing.subtotal, pricing.tax, pricing.total) == (11900, 1900, 11900)


def test_added_tax_is_put_on_top() -> None:
    pricing = price([line(1000, "1", SALES_TAX)], [], [], 0)
    assert (pricing.subtotal, pricing.tax, pricing.total) == (1000, 83, 1083)


def test_tax_is_the_tax_on_the_sum_and_the_parts_add_up() -> None:
    # Each line alone would be 0.0825 and round to nothing; together they are 0.2475, rounded to 0.
    pennies = [line(1, "1", SALES_TAX, number=number) for number in range(7)]
    pricing = price(pennies, [], [], 0)
    assert pricing.tax == 1
    assert [sum(part.taxes) for part in pricing.lines] == [1, 0, 0, 0, 0, 0, 0]


def test_taxes_of_one_rate_are_rounded_together_whatever_they_are_called() -> None:
    city, state = Tax(name="City", percentage="5"), Tax(name="State", percentage="5")
    pricing = price([line(1010, "1", city, state)], [], [], 0)
    assert (pricing.tax, pricing.lines[0].taxes) == (101, (51, 50))


def test_discounts_apply_one_after_the_other_and_spread_over_their_lines() -> None:
    lines = [line(1000, number=1), line(2000, number=2)]
    tenth = Discount(discount_id="dis_1", name="Spring", percentage="10")
    coupon = Discount(discount_id="dis_2", name="Coupon", amount_minor=100)
    pricing = price(lines, [], [tenth, coupon], 0)
    assert pricing.discounts == (300, 100)
    assert [part.discount for part in pricing.lines] == [133, 267]
    assert pricing.total == 2600


def test_a_discount_takes_no_line_below_nothing() -> None:
    coupon = Discount(discount_id="dis_1", name="Coupon", amount_minor=99_999, line_item_ids=("li_1",))
    pricing = price([line(1000, number=1), line(500, number=2)], [], [coupon], 0)
    assert (pricing.discounts, pricing.total) == ((1000,), 500)


def test_charges_are_taxed_and_tips_are_not() -> None:
    shipping = Charge(charge_id="chg_1", name="Shipping", amount_minor=1000, taxes=(SALES_TAX,))
    pricing = price([line(1000)], [shipping], [], 250)
    assert (pricing.charge, pricing.tax, pricing.tip, pricing.total) == (1000, 83, 250, 2333)


@pytest.mark.parametrize(
    ("unit", "quantity", "expected"), [(199, "0.333", 66), (1, "0.5", 1), (3, "0.5", 2), (999, "1.255", 1254)]
)
def test_goods_by_weight_round_half_away_from_zero(unit: int, quantity: str, expected: int) -> None:
    from decimal import Decimal

    assert times(unit, Decimal(quantity)) == expected


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (10, [0, 0], [10, 0]),
        (5, [3, 2, 5], [2, 1, 2]),
        (-100, [1, 1, 1], [-34, -33, -33]),
    ],
)
def test_spread_by_largest_remainder(total: int, weights: list[int], parts: list[int]) -> None:
    assert spread(total, weights) == parts


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(1250, "EUR", "12.50 EUR"), (1250, "JPY", "1250 JPY"), (1250, "KWD", "1.250 KWD"), (-5, "EUR", "-0.05 EUR")],
)
def test_money_for_people(amount: int, currency: str, text: str) -> None:
    assert format_money(amount, currency) == text


def test_what_is_no_currency_has_no_exponent() -> None:
    with pytest.raises(ValueError, match="XXX is not an ISO 4217 currency"):
        exponent("XXX")
