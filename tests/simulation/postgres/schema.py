"""The services' tables as their migrations make them; `tests/contract/stores` compares the two."""

from collections.abc import Callable, Hashable
from datetime import datetime
from itertools import count
from operator import itemgetter

from tests.simulation.postgres.engine import Database, Table, Values


def databases(clock: Callable[[], datetime]) -> dict[str, Database]:
    """A database for each service, by its name; empty."""
    made = {"orders": [*_orders(), _inbox()], "payments": _payments()}
    found = {}
    for service, tables in made.items():
        found[service] = database = Database(clock)
        database.add(*tables, _outbox(), _idempotency_keys(), *_grants())
    return found


def _orders() -> list[Table]:
    return [
        Table(
            "orders",
            """
            order_id version merchant_id environment number status payment_status refund_status source currency
            total_minor customer_id external_reference location_id device_id next_lease_expiry state created_at
            updated_at
            """,
            "order_id",
            indexes={"leased": lambda row: None if row["next_lease_expiry"] is None else True},
        ),
        Table(
            "order_events",
            "order_id version type payload recorded_at",
            "order_id version",
            indexes={"order": itemgetter("order_id")},
        ),
        Table("order_search", "order_id words", "order_id"),
        Table("order_numbers", "merchant_id environment next_number", "merchant_id environment"),
        Table(
            "customers",
            """
            customer_id merchant_id environment version name email phone external_reference metadata words created_at
            updated_at deleted_at
            """,
            "customer_id",
        ),
    ]


def _payments() -> list[Table]:
    return [
        Table(
            "channels",
            "channel_id merchant_id environment name source status created_at updated_at",
            "channel_id",
            indexes={
                "tenant": _tenant,
                "unfinished": lambda row: True if row["status"] in ("provisioning", "disabling") else None,
            },
        ),
        Table("channel_payments", "payment_id channel_id payment_reference order_id currency", "payment_id"),
        Table(
            "channel_events",
            """
            channel_event_id channel_id merchant_id environment event_id type body payment_id named_order_id
            external_reference status order_id currency order_version refusal attempt command_id correlation_id
            traceparent received_at changed_at
            """,
            "channel_event_id",
            indexes={
                "command": itemgetter("command_id"),
                "status": itemgetter("status"),
                "waiting_by_order": lambda row: row["named_order_id"] if row["status"] == "waiting" else None,
                "waiting_by_reference": lambda row: _reference(row) if row["status"] == "waiting" else None,
            },
            unique=["command"],
        ),
        Table(
            "known_orders",
            """
            order_id merchant_id environment external_reference currency status outstanding_minor version credit_minor
            customer_id placed_at reference_key
            """,
            "order_id",
            indexes={"reference": _reference},
        ),
        Table(
            "unmatched_money",
            """
            unmatched_money_id merchant_id environment channel_event_id kind status detail amount_minor currency
            channel_id event_type event_id event payment_id payment_reference order_id external_reference replaced_by
            created_at resolved_at version split_from attaching_to order_version surplus_minor overdue_at resolved_by
            return_reference note refusal attempt command_id asked_at
            """,
            "unmatched_money_id",
            indexes={
                "tenant": _tenant,
                "unresolved": lambda row: True if row["resolved_at"] is None else None,
                "event": itemgetter("channel_event_id"),
                "command": itemgetter("command_id"),
            },
            unique=["command"],
        ),
    ]


def _inbox() -> Table:
    return Table("inbox", "aggregate_id command_id outcome recorded_at", "aggregate_id command_id")


def _outbox() -> Table:
    return Table(
        "outbox",
        "seq shard id aggregatetype aggregateid type headers payload",
        "seq",
        defaults={"seq": count(1).__next__},
    )


def _idempotency_keys() -> Table:
    return Table("idempotency_keys", "scope key fingerprint status body created_at", "scope key")


def _grants() -> list[Table]:
    return [
        Table(
            "grants",
            """
            credential_hash grant_id kind merchant_id environment scopes status expires_at allowed_origins api_version
            topic_partition topic_offset
            """,
            "credential_hash",
        ),
        Table("grant_offsets", "topic_partition next_offset", "topic_partition"),
        Table("signing_keys", "kid x y status topic_partition topic_offset", "kid"),
    ]


def _tenant(row: Values) -> Hashable:
    return row["merchant_id"], row["environment"]


def _reference(row: Values) -> Hashable:
    """How a merchant calls an order; a name that is not there equals no other."""
    if row["external_reference"] is None:
        return None
    return row["merchant_id"], row["environment"], row["external_reference"]
