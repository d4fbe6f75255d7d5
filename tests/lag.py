"""What the services' consumer groups have still to acknowledge."""

from collections.abc import Sequence

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

SERVICE_GROUPS = ("orders.commands", "payments.channels", "payments.orders", "payments.replies")


def unacknowledged(bootstrap_servers: str, marks: int = 0, groups: Sequence[str] = SERVICE_GROUPS) -> list[str]:
    """Groups that have not acknowledged every record; up to `marks` of transactions in a partition are none."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    reader = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "auditor", "log_level": 0})
    found = []
    try:
        for group in groups:
            asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
            for place in asked[group].result(timeout=20).topic_partitions:
                _, high = reader.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=20)
                if place.offset < high - marks:
                    found.append(f"{group} is at {place.offset} of {high} in {place.topic}[{place.partition}]")
    finally:
        reader.close()
    return found
