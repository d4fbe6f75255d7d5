"""What statements do with rows."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

from tests.simulation.postgres.client import Rows
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.table import Values

K = TypeVar("K", bound=Hashable)


def picked(rows: Iterable[Values], names: Sequence[str]) -> Rows:
    """These columns of the rows."""
    return [{name: row[name] for name in names} for row in rows]


def rows_of(names: Iterable[str], *columns: list[Any]) -> list[Values]:
    """What `unnest` makes of columns."""
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def there(t: Transaction, table: str, keys: Iterable[Any]) -> list[Values]:
    """Rows by primary key, each once."""
    found = (t.get(t.database[table], key) for key in dict.fromkeys(keys))
    return [row for row in found if row is not None]


def is_mine(row: Values, merchant_id: str, environment: str) -> bool:
    """Whether it is the tenant's."""
    return (row["merchant_id"], row["environment"]) == (merchant_id, environment)


def by_first(keys: Iterable[K], values: Iterable[Any]) -> dict[K, Any]:
    """An UPDATE changes a row once, however many rows it is joined with."""
    found: dict[K, Any] = {}
    for key, value in zip(keys, values, strict=True):
        found.setdefault(key, value)
    return found


def coalesced(first: Any, second: Any) -> Any:
    """`coalesce`."""
    return second if first is None else first
