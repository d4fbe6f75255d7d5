"""The statements on how far the books have been compared."""

from datetime import datetime

from services.payments.store import reconciliations
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import picked, there
from tests.simulation.postgres.table import Values

statement = Statements()


@statement(reconciliations._MARKS)
def marks(t: Transaction, merchant_id: str, environment: str) -> Rows:
    return picked(there(t, "reconciliations", [(merchant_id, environment)]), ("compared_to", "summed_to"))


@statement(reconciliations._ADVANCE)
async def advance(
    t: Transaction, merchant_id: str, environment: str, compared_to: datetime, summed_to: datetime
) -> str:
    row = {"merchant_id": merchant_id, "environment": environment, "compared_to": compared_to, "summed_to": summed_to}

    def further(known: Values, new: Values) -> Values:
        return known | {name: max(known[name], new[name]) for name in ("compared_to", "summed_to")}

    return f"INSERT 0 {len(await t.upsert(t.database['reconciliations'], [row], further))}"


@statement(reconciliations._DIFFERING)
def differing(t: Transaction, merchant_id: str, environment: str, after: str, limit: int) -> Rows:
    mine = t.find(t.database["differing_orders"], "tenant", (merchant_id, environment))
    found = sorted(row["order_id"] for row in mine if row["order_id"] > after)
    return [{"order_id": order_id} for order_id in found[:limit]]


@statement(reconciliations._DIFFER)
async def differ(t: Transaction, merchant_id: str, environment: str, order_ids: list[str], now: datetime) -> str:
    whose = {"merchant_id": merchant_id, "environment": environment}
    rows = [whose | {"order_id": order_id, "found_at": now} for order_id in order_ids]
    done = await t.upsert(t.database["differing_orders"], rows, lambda known, new: known | new)
    return f"INSERT 0 {len(done)}"


@statement(reconciliations._AGREE)
async def agree(t: Transaction, merchant_id: str, environment: str, order_ids: list[str], began_at: datetime) -> str:
    table = t.database["differing_orders"]
    keys = [(merchant_id, environment, order_id) for order_id in order_ids]
    rows = await t.lock_rows(table, keys, lambda row: bool(row["found_at"] <= began_at))
    for row in rows:
        t.remove(table, table.key(row))
    return f"DELETE {len(rows)}"
