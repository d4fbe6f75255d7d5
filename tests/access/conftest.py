from collections.abc import AsyncIterator

import pytest

from tests.access.callers import all_callers
from tests.access.entries import ENTRIES
from tests.access.matrix import ANYONE, PLATFORM, Callers
from tests.stack import Stack


@pytest.fixture(scope="package")
async def callers(stack: Stack) -> AsyncIterator[Callers]:
    scopes = sorted({entry.needs for entry in ENTRIES.values()} - {ANYONE, PLATFORM})
    async with all_callers(stack, scopes) as found:
        yield found
