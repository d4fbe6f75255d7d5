"""The life of a channel: a row here, and its topic, user and rights in Kafka.

Kafka is never called inside a transaction: the intent is saved, Kafka is called, the outcome is saved. What a crash
leaves in between is finished by a job, which knows no passwords: a channel whose first one was lost gets another by
rotating.
"""

import secrets
from datetime import timedelta
from functools import cached_property

from services.payments.store import channels
from services.payments.store.channels import ChannelRow
from shared.clock import Clock
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.kafka_admin import KafkaAdmin
from shared.postgres import Pool, transaction
from shared.settings import KafkaSettings
from shared.topics import channel_topic, channel_topics, dead_letters

_PASSWORD_BYTES = 32
_UNFINISHED_AFTER = timedelta(seconds=30)
"""Longer than a request that is still at it takes."""
_AT_ONCE = 100


def username_of(channel_id: str) -> str:
    """Who the channel is to Kafka."""
    return f"channel-{channel_id}"


def new_password() -> str:
    """256 bits, in characters that need no quoting anywhere."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


class ChannelLife:
    """What happens to a saved channel in Kafka; each step may be repeated. Raises `Transient` while Kafka is away."""

    def __init__(self, pool: Pool, kafka: KafkaSettings, clock: Clock, clients: Clients = REAL_CLIENTS) -> None:
        self._pool, self._kafka, self._clock, self._clients = pool, kafka, clock, clients

    @cached_property
    def _admin(self) -> KafkaAdmin:
        """Connects when it is made, so not before the first use."""
        return self._clients.admin(self._kafka)

    async def provision(self, channel_id: str, password: str) -> ChannelRow | None:
        """Topics, user and rights exist and the channel is active; `None` when it was disabled meanwhile."""
        await self._admin.ensure_topics(channel_topics(channel_id))
        await self._admin.create_scram_user(username_of(channel_id), password)
        return await self._activate(channel_id)

    async def rotate(self, row: ChannelRow, password: str) -> ChannelRow | None:
        """The channel logs in with this password only; `None` when it is disabled.

        One that was not finished is finished on the way.
        """
        if row.status in ("disabling", "disabled"):
            return None
        if row.status == "provisioning":
            return await self.provision(row.channel_id, password)
        await self._admin.create_scram_user(username_of(row.channel_id), password)
        return await self._activated(row.channel_id)

    async def disable(self, channel_id: str) -> None:
        """The channel can neither log in nor write, on open connections either; topic and history stay."""
        await self._revoke(channel_id)
        async with transaction(self._pool) as connection:
            await channels.move(connection, channel_id, ["disabling"], "disabled", self._clock())

    async def finish(self) -> None:
        """Do what is left of channels whose last step was cut short."""
        for row in await channels.unfinished(self._pool, self._clock() - _UNFINISHED_AFTER, _AT_ONCE):
            if row.status == "disabling":
                await self.disable(row.channel_id)
            else:
                await self._admin.ensure_topics(channel_topics(row.channel_id))
                await self._activate(row.channel_id)

    async def _activate(self, channel_id: str) -> ChannelRow | None:
        user, topic = username_of(channel_id), channel_topic(channel_id)
        await self._admin.grant_write(user, topic)
        # The dot ends the name, so that no other channel's groups begin like it.
        await self._admin.grant_read(user, dead_letters(topic), group_prefix=f"{user}.")
        return await self._activated(channel_id)

    async def _activated(self, channel_id: str) -> ChannelRow | None:
        """Saved as active; if it was disabled while Kafka was called, what Kafka gave it is taken again."""
        async with transaction(self._pool) as connection:
            row = await channels.move(connection, channel_id, ["provisioning", "active"], "active", self._clock())
        if row is None:
            await self._revoke(channel_id)
        return row

    async def _revoke(self, channel_id: str) -> None:
        await self._admin.revoke_all(username_of(channel_id))
        await self._admin.delete_scram_user(username_of(channel_id))
