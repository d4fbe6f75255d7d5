"""How a batch is shared out when it is more than one transaction should hold."""

from collections import defaultdict
from collections.abc import Sequence

from shared.kafka.record import Record, place_of

Lane = list[int]
"""Positions in a batch, of all records of some partitions, in their order."""


def lanes_of(records: Sequence[Record], most: int, lanes: int) -> list[Lane]:
    """As few lanes as leave each of them `most` records, and no more than `lanes`; about equally long.

    A partition is in one lane as a whole, so that a lane may have more than `most`.
    """
    wanted = min(lanes, -(-len(records) // most))
    if wanted == 1:
        return [list(range(len(records)))]
    partitions: defaultdict[tuple[str, int], Lane] = defaultdict(list)
    for position, record in enumerate(records):
        partitions[place_of(record)].append(position)
    shared: list[Lane] = [[] for _ in range(wanted)]
    for partition in sorted(partitions.values(), key=len, reverse=True):
        min(shared, key=len).extend(partition)
    return [lane for lane in shared if lane]
