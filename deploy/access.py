"""The demo merchant's credentials: made once, kept in the installation, announced at every start."""

import secrets
from typing import Any

from deploy.installation import Installation
from shared.auth.keys import hash_credential, new_api_key
from shared.clock import utc_now
from shared.contracts.access import GRANT_V1, SCOPES, Grant
from shared.envelope import Envelope
from shared.ids import new_id
from shared.kafka import producer
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import ACCESS_GRANTS, ORDERS_EVENTS

MERCHANT_ID = "mer_demo"
_OBSERVER = "demo-observer"
_SOURCE = "/throughline/demo"


async def announce_access(kafka: KafkaSettings, installation: Installation) -> dict[str, Any]:
    """Every service will accept the demo merchant's API key and the platform key; returns the state with both.

    The keys stay the same as long as the installation's state is kept.
    """
    state = installation.load_state()
    if "api_key" not in state:
        state |= {"api_key": new_api_key("test"), "platform_key": new_api_key("test")}
        installation.save_state(state)
    async with producer(kafka) as publisher:
        for envelope in (
            _envelope(_merchant_grant(state["api_key"])),
            _envelope(_platform_grant(state["platform_key"])),
        ):
            headers = [(name, text.encode()) for name, text in envelope.headers().items()]
            key = (envelope.key or "").encode()
            await publisher.send_and_wait(ACCESS_GRANTS, value=envelope.data, key=key, headers=headers)
    return state


async def admit_observer(kafka: KafkaSettings, installation: Installation) -> None:
    """The installation's observer may log in to Kafka and read the orders' events; its login is in the state."""
    state = installation.load_state()
    if "observer" not in state:
        state |= {"observer": {"username": _OBSERVER, "password": secrets.token_urlsafe(32)}}
        installation.save_state(state)
    admin = KafkaAdmin(kafka)
    await admin.create_scram_user(_OBSERVER, state["observer"]["password"])
    await admin.grant_read(_OBSERVER, ORDERS_EVENTS, group_prefix=f"{_OBSERVER}.")


def _merchant_grant(api_key: str) -> Grant:
    digest = hash_credential(api_key)
    return Grant(
        grant_id=f"key_{digest[:26]}",
        credential_hash=digest,
        kind="api_key",
        merchant_id=MERCHANT_ID,
        environment="test",
        scopes=SCOPES,
        name="Demo merchant",
    )


def _platform_grant(platform_key: str) -> Grant:
    digest = hash_credential(platform_key)
    return Grant(
        grant_id=f"key_{digest[:26]}",
        credential_hash=digest,
        kind="platform",
        merchant_id=None,
        environment="test",
        scopes=SCOPES,
        name="Local platform",
    )


def _envelope(grant: Grant) -> Envelope:
    return Envelope(
        id=new_id("evt"),
        type=GRANT_V1,
        source=_SOURCE,
        data=grant.model_dump_json().encode(),
        key=grant.credential_hash,
        subject=grant.grant_id,
        time=utc_now(),
        merchant_id=grant.merchant_id,
        environment=grant.environment,
    )
