"""The installation's own credentials: the platform key that it begins with, the secret of its sandbox, and its
observer in Kafka."""

import secrets

from pydantic import SecretStr

from deploy.installation import Installation
from shared.auth.keys import new_api_key
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings, SandboxSettings
from shared.topics import ORDERS_EVENTS

_OBSERVER = "demo-observer"


def platform_key(installation: Installation) -> str:
    """The key that may create merchants: made once, and the same for as long as the installation's state is kept."""
    state = installation.load_state()
    if "platform_key" not in state:
        state |= {"platform_key": new_api_key("live")}
        installation.save_state(state)
    return str(state["platform_key"])


def sandbox(installation: Installation) -> SandboxSettings:
    """The environment's settings of the sandbox; the installation's own secret where they name none."""
    named = SandboxSettings()
    if named.secret.get_secret_value():
        return named
    return named.model_copy(update={"secret": SecretStr(installation.secret("sandbox_secret", secrets.token_urlsafe))})


async def admit_observer(kafka: KafkaSettings, installation: Installation) -> None:
    """The installation's observer may log in to Kafka and read the orders' events; its login is in the state."""
    state = installation.load_state()
    if "observer" not in state:
        state |= {"observer": {"username": _OBSERVER, "password": secrets.token_urlsafe(32)}}
        installation.save_state(state)
    admin = KafkaAdmin(kafka)
    await admin.create_scram_user(_OBSERVER, state["observer"]["password"])
    await admin.grant_read(_OBSERVER, ORDERS_EVENTS, group_prefix=f"{_OBSERVER}.")
