"""What the services ask of `KafkaAdmin`."""

from collections.abc import Iterable

from shared.faults import Transient
from shared.topics import TopicSpec
from tests.simulation.kafka.cluster import Cluster
from tests.simulation.network import Link


class Admin:
    """`KafkaAdmin`: topics come into being; users and rights are nobody's concern here."""

    def __init__(self, cluster: Cluster, link: Link) -> None:
        self._cluster, self._link = cluster, link

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        await self._link.travel(lambda: Transient("Kafka does not answer"))
        if self._cluster.down:
            raise Transient("Kafka does not answer")
        for spec in specs:
            self._cluster.create(spec.name, spec.partitions)

    async def missing_topics(self, names: Iterable[str]) -> set[str]:
        await self._link.travel(lambda: Transient("Kafka does not answer"))
        return set(names) - self._cluster.topics.keys()

    async def create_scram_user(self, username: str, password: str) -> None: ...

    async def delete_scram_user(self, username: str) -> None: ...

    async def grant_write(self, principal: str, topic: str) -> None: ...

    async def grant_read(self, principal: str, topic: str, group_prefix: str) -> None: ...

    async def revoke_all(self, principal: str) -> None: ...
