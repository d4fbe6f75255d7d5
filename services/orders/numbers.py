"""Order numbers for people: unique per merchant and environment, handed out without a lock that writers share.

A process takes numbers in blocks, in a short transaction of their own. A number is never given twice; numbers that a
stopped process had left, or that a refused command had taken, are skipped.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping

from services.orders.store.numbers import take_numbers
from shared.postgres import Pool, transaction

Tenant = tuple[str, str]
"""Merchant id and environment."""

_SMALLEST_BLOCK = 1
_LARGEST_BLOCK = 500


class OrderNumbers:
    """The numbers that this process may give out. A tenant's block doubles with each one that it uses up."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._free: dict[Tenant, deque[int]] = defaultdict(deque)
        self._block: dict[Tenant, int] = {}
        self._lock = asyncio.Lock()

    async def take(self, wanted: Mapping[Tenant, int]) -> dict[Tenant, deque[str]]:
        """As many numbers per tenant as wanted. Raises `Transient` while the database is away."""
        async with self._lock:
            for tenant, count in wanted.items():
                if len(self._free[tenant]) < count:
                    await self._fill(tenant, count)
            return {
                tenant: deque(str(self._free[tenant].popleft()) for _ in range(count))
                for tenant, count in wanted.items()
            }

    async def _fill(self, tenant: Tenant, count: int) -> None:
        block = min(_LARGEST_BLOCK, self._block.get(tenant, _SMALLEST_BLOCK))
        size = max(block, count)
        self._block[tenant] = min(_LARGEST_BLOCK, block * 2)
        async with transaction(self._pool) as connection:
            first = await take_numbers(connection, *tenant, size)
        self._free[tenant].extend(range(first, first + size))
