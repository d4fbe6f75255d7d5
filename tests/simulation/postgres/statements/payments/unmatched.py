"""The statements on unmatched money."""

import re
from collections.abc import Callable
from operator import eq, ge, itemgetter, lt
from typing import Any

from services.payments.store import unmatched
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction, Values
from tests.simulation.postgres.statements.rows import by_first, coalesced, is_mine, picked, rows_of, there

statement = Statements()

_NEW_ITEM = [name for name, _ in unmatched._COLUMNS]
_ITEM = [*_NEW_ITEM, "replaced_by", "resolved_at"]


@statement(unmatched._OPEN)
async def open_items(t: Transaction, *columns: list[Any]) -> Rows:
    new = [await t.insert_new(t.database["unmatched_money"], row) for row in rows_of(_NEW_ITEM, *columns)]
    return picked((row for row in new if row is not None), ("unmatched_money_id",))


@statement(
    f"""
    WITH ended AS (
        UPDATE unmatched_money AS item SET status = new.status, order_id = coalesce(new.order_id, item.order_id),
            replaced_by = new.replaced_by, resolved_at = $5
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, status, order_id, replaced_by)
        WHERE item.unmatched_money_id = new.id AND item.status = 'open' RETURNING item.*
    ) SELECT {unmatched._ALL} FROM ended
    """
)
async def end_items(t: Transaction, ids: list[str], *columns: Any) -> Rows:
    table, now = t.database["unmatched_money"], columns[-1]
    new = by_first(ids, rows_of(("status", "order_id", "replaced_by"), *columns[:-1]))
    rows = await t.lock_rows(table, new, lambda row: bool(row["status"] == "open"))
    ended = []
    for row in rows:
        end = new[row["unmatched_money_id"]]
        order_id = coalesced(end["order_id"], row["order_id"])
        ended.append(row | end | {"order_id": order_id, "resolved_at": now})
        await t.put(table, ended[-1])
    return picked(ended, _ITEM)


@statement(
    f"SELECT {unmatched._ALL} FROM unmatched_money "
    "WHERE unmatched_money_id = $1 AND merchant_id = $2 AND environment = $3"
)
def read_item(t: Transaction, item_id: str, merchant_id: str, environment: str) -> Rows:
    rows = there(t, "unmatched_money", [item_id])
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), _ITEM)


@statement(
    re.compile(
        re.escape(f"SELECT {unmatched._ALL} FROM unmatched_money WHERE merchant_id = $1 AND environment = $2")
        + r"(?P<conditions>.*) ORDER BY created_at DESC, unmatched_money_id DESC LIMIT (?P<limit>\d+)"
    )
)
def list_items(t: Transaction, merchant_id: str, environment: str, *arguments: Any, match: re.Match[str]) -> Rows:
    place = itemgetter("created_at", "unmatched_money_id")
    rows = t.find(t.database["unmatched_money"], "tenant", (merchant_id, environment))
    for condition in match["conditions"].split(" AND ")[1:]:
        rows = [row for row in rows if _holds(condition, row, arguments)]
    return picked(sorted(rows, key=place, reverse=True)[: int(match["limit"])], _ITEM)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {"=": eq, ">=": ge, "<": lt}


def _holds(condition: str, row: Values, arguments: tuple[Any, ...]) -> bool:
    """One condition on columns: `status = $3`, `(created_at, unmatched_money_id) < ($5, $6)`."""
    columns, operator, numbers = re.fullmatch(r"(.+) (=|>=|<) (.+)", condition).groups()  # type: ignore[union-attr]
    values = [arguments[int(number) - 3] for number in re.findall(r"\$(\d+)", numbers)]
    return _COMPARED[operator]([row[name] for name in re.findall(r"\w+", columns)], values)
