"""What the order service keeps in memory between versions: as much as it may, and only while it holds."""

from services.orders.lines import LinesJson
from services.orders.store.orders import OrderCache
from shared.contracts import order_commands as c
from shared.contracts.order_parts import Discount
from shared.immutable import replace
from tests.unit.test_orders_money import accepted, new_order


def test_lines_are_worked_out_once_while_neither_they_nor_their_prices_change() -> None:
    lines, order = LinesJson(), new_order()
    known = lines.of(order)
    assert lines.of(accepted(order, c.AddNote(note_id="nt_1", text="Called"))) is known
    cheaper = accepted(order, c.ApplyDiscount(discount=Discount(discount_id="dis_1", name="Sale", amount_minor=100)))
    assert lines.of(cheaper) is not known
    renamed = tuple(line.model_copy(update={"name": "Coat"}) for line in cheaper.lines)
    assert lines.of(replace(cheaper, lines=renamed)) is not lines.of(cheaper)


def test_lines_of_the_orders_told_of_first_are_forgotten() -> None:
    lines, order = LinesJson(largest=1), new_order()
    known = lines.of(order)
    lines.of(replace(order, order_id="ord_2"))
    assert lines.of(order) is not known


def test_orders_committed_longest_ago_are_forgotten() -> None:
    cache, order = OrderCache(largest=2), new_order()
    first, second, third = (replace(order, order_id=f"ord_{number}") for number in (1, 2, 3))
    for one in (first, second, first, third):
        cache.put([one])
    found = [cache.get(one.order_id, one.version, one.updated_at) for one in (first, second, third)]
    assert found == [first, None, third]
