"""Public events. Whatever the time, there is a partition for it."""

from datetime import datetime
from itertools import takewhile
from operator import itemgetter

from services.apps.store import events as store
from services.apps.store import partitions
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import picked
from tests.simulation.postgres.table import Values

statement = Statements()

_PLACED = ("position", *(name for name, _ in store._COLUMNS))


def _within(t: Transaction, ids: list[str], first: datetime, last: datetime) -> Rows:
    events = t.database["events"]
    found = [row for event_id in dict.fromkeys(ids) for row in t.find(events, "id", event_id)]
    return [row for row in found if first <= row["created_at"] <= last]


@statement("SELECT to_regclass($1)")
def partition(_: Transaction, name: str) -> Rows:
    return [{"to_regclass": name}]


@statement(partitions._PARTS)
def partitions_of(_: Transaction, parent: str) -> Rows:
    return []


@statement(store._KNOWN)
def known(t: Transaction, ids: list[str], first: datetime, last: datetime) -> Rows:
    return picked(_within(t, ids, first, last), ("event_id",))


@statement(store._bounded(store._SEVERAL, "place"))
def several(t: Transaction, ids: list[str], first: datetime, before: datetime) -> Rows:
    found = [row for row in _within(t, ids, first, before) if row["created_at"] < before]
    placed = sorted((row | {"place": ids.index(row["event_id"]) + 1} for row in found), key=itemgetter("place"))
    return picked(_fitting(placed), (*_PLACED, "place", "in_all"))


@statement(store._NEWEST)
def newest_position(t: Transaction) -> Rows:
    return [{"coalesce": max((row["position"] for row in t.scan(t.database["events"])), default=0)}]


@statement(store._FIRST)
def position_before(t: Transaction, created_from: datetime) -> Rows:
    events = list(t.scan(t.database["events"]))
    after = [row["position"] for row in events if row["created_at"] >= created_from]
    newest = max((row["position"] for row in events), default=0)
    return [{"coalesce": min(after) - 1 if after else newest}]


@statement(store._bounded(store._BETWEEN))
def between(
    t: Transaction,
    after: int,
    up_to: int,
    merchants: list[str],
    environments: list[str],
    limit: int,
    created_from: datetime | None,
) -> Rows:
    tenants = set(zip(merchants, environments, strict=True))

    def wanted(row: Values) -> bool:
        late = created_from is None or row["created_at"] >= created_from
        return after < row["position"] <= up_to and (row["merchant_id"], row["environment"]) in tenants and late

    found = sorted(filter(wanted, t.scan(t.database["events"])), key=itemgetter("position"))[:limit]
    return picked(_fitting(found), _PLACED)


def _fitting(rows: list[Values]) -> list[Values]:
    """The first of the rows, until they are too large together."""
    before = 0

    def fits(row: Values) -> bool:
        nonlocal before
        size = sum(len(row[name] or b"") for name in ("change", "order_after", "customer", "subject_after"))
        fitting, before = before < store._LARGEST_PAGE_BYTES, before + size
        return fitting

    return [row | {"in_all": len(rows)} for row in takewhile(fits, rows)]
