"""What an order comes to. Every amount that is shared out is shared by largest remainder, so that parts add up.

Discounts apply in the order in which they were given, each to what earlier ones left of its lines, and never take a
line below nothing. Taxes are worked out per rate, whatever they are called, over all lines and charges together and
then spread over them, so that the tax on the receipt is the tax on the sum (a rate of an included tax is taken out of
the price: the part that remains is price / (1 + all included rates)).
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from services.orders.core.state import PricedPart, Pricing
from shared.contracts.order_parts import Charge, Discount, LineItem, Tax
from shared.money import percent_of, round_half_away, spread, times


def price(lines: Sequence[LineItem], charges: Sequence[Charge], discounts: Sequence[Discount], tip: int) -> Pricing:
    """All totals of an order with these parts."""
    gross = subtotals(lines)
    by_discount, by_line = _discount(lines, gross, discounts)
    nets = [subtotal - off for subtotal, off in zip(gross, by_line, strict=True)]
    nets += [charge.amount_minor for charge in charges]
    parts: list[LineItem | Charge] = [*lines, *charges]
    taxes = _tax(parts, nets)
    priced = [
        PricedPart(net + off, off, tuple(shares), net + _added(part.taxes, shares) if shares else net)
        for part, net, off, shares in zip(parts, nets, [*by_line, *([0] * len(charges))], taxes, strict=True)
    ]
    priced_lines, priced_charges = tuple(priced[: len(lines)]), tuple(priced[len(lines) :])
    return Pricing(
        subtotal=sum(gross),
        discount=sum(by_line),
        charge=sum(charge.amount_minor for charge in charges),
        tax=sum(map(sum, taxes)),
        tip=tip,
        total=sum([part.total for part in priced]) + tip,
        lines=priced_lines,
        charges=priced_charges,
        discounts=tuple(by_discount),
    )


def subtotals(lines: Sequence[LineItem]) -> list[int]:
    """Each line's unit price times its quantity."""
    return [
        line.unit_price_minor if line.quantity == "1" else times(line.unit_price_minor, Decimal(line.quantity))
        for line in lines
    ]


def _discount(
    lines: Sequence[LineItem], gross: Sequence[int], discounts: Sequence[Discount]
) -> tuple[list[int], list[int]]:
    """The amount of each discount, and what each line loses to all of them."""
    left = list(gross)
    amounts = []
    for discount in discounts:
        chosen = [
            index
            for index, line in enumerate(lines)
            if discount.line_item_ids is None or line.line_item_id in discount.line_item_ids
        ]
        weights = [left[index] for index in chosen]
        amount = _discount_amount(discount, sum(weights))
        for index, part in zip(chosen, spread(amount, weights) if amount else [0] * len(chosen), strict=True):
            left[index] -= part
        amounts.append(amount)
    return amounts, [subtotal - rest for subtotal, rest in zip(gross, left, strict=True)]


def _discount_amount(discount: Discount, left: int) -> int:
    if discount.percentage is not None:
        return percent_of(left, Decimal(discount.percentage))
    return min(discount.amount_minor or 0, left)


def _tax(parts: Sequence[LineItem | Charge], nets: Sequence[int]) -> list[list[int]]:
    """For each part the amount of each of its taxes."""
    shares = [[tax.amount_minor or 0 for tax in part.taxes] for part in parts]
    groups: dict[tuple[str, bool, Fraction], list[tuple[int, int]]] = defaultdict(list)
    for index, part in enumerate(parts):
        if not part.taxes:
            continue
        included = sum((Fraction(tax.percentage) for tax in part.taxes if tax.inclusive and tax.percentage), Fraction())
        for position, tax in enumerate(part.taxes):
            if tax.percentage is not None:
                groups[tax.percentage, tax.inclusive, included].append((index, position))
    for (percentage, _, included), places in groups.items():
        bases = [nets[index] for index, _ in places]
        # A price of 100 + included per cent holds 100 of goods, and each rate its share of those goods.
        amount = round_half_away(Fraction(percentage) * sum(bases) / (100 + included))
        for (index, position), part_of_tax in zip(places, spread(amount, bases), strict=True):
            shares[index][position] = part_of_tax
    return shares


def _added(taxes: Sequence[Tax], shares: Sequence[int]) -> int:
    return sum(share for tax, share in zip(taxes, shares, strict=True) if not tax.inclusive)
