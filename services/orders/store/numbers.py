"""The counter of a tenant's order numbers."""

from typing import cast

from shared.postgres import Connection


async def take_numbers(connection: Connection, merchant_id: str, environment: str, count: int) -> int:
    """The first of `count` numbers that nobody else gets; a tenant's first number is 1001."""
    return cast(
        int,
        await connection.fetchval(
            """
            INSERT INTO order_numbers AS known (merchant_id, environment, next_number)
            VALUES ($1, $2, 1001 + $3::bigint)
            ON CONFLICT (merchant_id, environment) DO UPDATE SET next_number = known.next_number + $3
            RETURNING next_number - $3
            """,
            merchant_id,
            environment,
            count,
        ),
    )
