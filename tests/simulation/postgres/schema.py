"""The services' tables as their migrations make them; `tests/contract/stores` compares the two."""

from collections.abc import Callable, Hashable
from datetime import datetime
from itertools import count
from operator import itemgetter

from tests.simulation.postgres.engine import Database
from tests.simulation.postgres.table import Ordered, Table, Values


def databases(clock: Callable[[], datetime]) -> dict[str, Database]:
    """A database for each service, by its name; empty."""
    made = {"orders": [*_orders(), _inbox()], "payments": _payments(), "apps": [*_access(), *_events(), *_webhooks()]}
    found = {}
    for service, tables in made.items():
        found[service] = database = Database(clock)
        database.add(*tables, _outbox(), _idempotency_keys(), *_grants())
    found["sandbox"] = Database(clock)
    found["sandbox"].add(*_sandbox())
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
        Table(
            "payment_intents",
            """
            payment_intent_id merchant_id environment order_id group_id status settled created_at updated_at
            status_since authorization_ends_at state
            """,
            "payment_intent_id",
            indexes={
                "group": itemgetter("group_id"),
                "under_way": lambda row: None if row["settled"] else True,
                "holding": lambda row: True if row["status"] == "requires_capture" else None,
                "merchant": itemgetter("merchant_id"),
            },
        ),
        Table(
            "order_facts",
            """
            order_id version ordinal merchant_id environment kind currency recorded_at payment_id reference
            amount_minor refund seen_at summed_to
            """,
            "order_id version ordinal",
            indexes={"order": itemgetter("order_id"), "tenant": _tenant},
        ),
        Table("reconciliations", "merchant_id environment compared_to summed_to", "merchant_id environment"),
        Table(
            "differing_orders",
            "merchant_id environment order_id found_at",
            "merchant_id environment order_id",
            indexes={"tenant": _tenant},
        ),
        Table(
            "payment_attempts",
            """
            attempt_id payment_intent_id merchant_id environment order_id connector asked status due_at claimed_until
            claims looks outcome answer created_at updated_at
            """,
            "attempt_id",
            indexes={
                "open": Ordered(lambda row: None if row["status"] == "ended" else True, "due_at attempt_id"),
                "open_of_intent": lambda row: None if row["status"] == "ended" else row["payment_intent_id"],
            },
        ),
    ]


def _sandbox() -> list[Table]:
    """Without the trigger that keeps the ledger from being changed."""
    return [
        Table(
            "payments",
            """
            payment_id merchant_id environment attempt_id order_id payment_intent_id currency token amount_minor capture
            return_url ends_at challenged due_at
            """,
            "payment_id",
        ),
        Table(
            "attempts",
            """
            merchant_id environment attempt_id request_hash payment_id answer outcome movement_id amount_minor fails_at
            """,
            "merchant_id environment attempt_id",
            indexes={"late": lambda row: None if row["fails_at"] is None else row["payment_id"]},
        ),
        Table(
            "entries",
            """
            movement_id account amount_minor currency kind payment_id attempt_id merchant_id environment made_at
            """,
            "movement_id account",
            indexes={"payment": itemgetter("payment_id")},
        ),
    ]


def _access() -> list[Table]:
    """Without what only pages and OAuth use."""
    return [
        Table(
            "merchants",
            "merchant_id version name status country default_currency time_zone metadata created_at updated_at",
            "merchant_id",
        ),
        Table(
            "environments",
            "environment_id merchant_id environment",
            "environment_id",
            indexes={"tenant": _tenant},
            unique=["tenant"],
        ),
        Table(
            "api_keys",
            """
            api_key_id kind merchant_id environment name scopes allowed_origins prefix created_at expires_at
            overlap_ends_at revoked_at last_used_at
            """,
            "api_key_id",
        ),
        Table("api_key_secrets", "credential_hash api_key_id created_at ends_at", "credential_hash"),
        Table(
            "audit_log",
            """
            audit_entry_id created_at actor_type actor_id action target_id merchant_id environment request_id changes
            """,
            "audit_entry_id created_at",
        ),
        Table(
            "installs",
            "install_id app_id merchant_id status created_at updated_at revoked_at",
            "install_id",
            indexes={"live": _live(itemgetter("app_id", "merchant_id"))},
            unique=["live"],
        ),
        Table(
            "environment_grants",
            """
            grant_id install_id app_id merchant_id environment permission_ids scopes status approved_by created_at
            updated_at revoked_at
            """,
            "grant_id",
            indexes={
                "live": _live(itemgetter("merchant_id", "environment", "app_id")),
                "install": itemgetter("install_id"),
            },
            unique=["live"],
        ),
        Table(
            "refresh_tokens",
            "token_hash app_id grant_id family_id status created_at expires_at successor_hash idempotency_hash",
            "token_hash",
        ),
        Table("private_signing_keys", "kid public_jwk sealed_jwk status created_at signs_from", "kid"),
    ]


def _events() -> list[Table]:
    """Without partitions: the events have one for every week, the audit log one for every year."""
    return [
        Table(
            "events",
            """
            event_id created_at position type merchant_id environment order_id order_version actor_type actor_id
            cause_type cause_id change order_after customer subject_type subject_id subject_after grant_id
            """,
            "event_id created_at",
            indexes={"id": itemgetter("event_id")},
            defaults={"position": count(1).__next__},
        ),
        Table("plugin_topics", "app_id status filled_to has_credentials created_at updated_at", "app_id"),
        Table(
            "plugin_replays",
            """
            replay_id app_id environment merchant_id created_from begins_after done_to ends_at published status
            created_at updated_at
            """,
            "replay_id",
            indexes={"running": lambda row: row["app_id"] if row["status"] == "running" else None},
            unique=["running"],
        ),
    ]


def _webhooks() -> list[Table]:
    def pending(row: Values) -> Hashable:
        return row["endpoint_id"] if row["status"] == "pending" else None

    def pending_of_order(row: Values) -> Hashable:
        return (row["endpoint_id"], row["order_id"]) if row["status"] == "pending" else None

    return [
        Table(
            "webhook_endpoints",
            """
            endpoint_id merchant_id environment grant_id scopes url description event_types status disabled_reason
            sealed_secret sealed_previous_secret previous_secret_ends_at failures failing_since paused_until version
            created_at updated_at
            """,
            "endpoint_id",
            defaults={"failures": lambda: 0},
        ),
        Table(
            "webhook_deliveries",
            """
            delivery_id seq endpoint_id event_id event_type order_id test_body status tries attempts due_at
            claimed_until last_status_code last_error created_at settled_at
            """,
            "delivery_id",
            indexes={"pending": Ordered(pending, "due_at seq"), "pending_of_order": pending_of_order},
            defaults={"seq": count(1).__next__},
        ),
        Table(
            "webhook_attempts", "delivery_id attempt at latency_ms status_code error response", "delivery_id attempt"
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


def _live(key: Callable[[Values], Hashable]) -> Callable[[Values], Hashable]:
    """Of one that is not revoked."""
    return lambda row: None if row["status"] == "revoked" else key(row)


def _reference(row: Values) -> Hashable:
    """How a merchant calls an order; a name that is not there equals no other."""
    if row["external_reference"] is None:
        return None
    return row["merchant_id"], row["environment"], row["external_reference"]
