"""Fixtures that several of these tests share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.apps import run
from tests.oauth_scene import Scene
from tests.oidc_scene import Scene as OidcScene
from tests.oidc_scene import staged
from tests.stack import Stack


@pytest.fixture(scope="module")
async def people(stack: Stack) -> AsyncIterator[Scene]:
    """A merchant and its owner for all tests that do them no harm: passwords take time."""
    async with AsyncExitStack() as exits:
        made = Scene(stack, exits)
        await made.with_people()
        yield made


@pytest.fixture
async def scene(people: Scene) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as exits:
        made = Scene(people.stack, exits)
        made.merchant_id, made.person = people.merchant_id, people.person
        made.app = await made.app_of(await made.key(await made.merchant("Toolmaker")))
        yield made


@pytest.fixture(scope="module")
async def oidc_of_the_module(stack: Stack) -> AsyncIterator[OidcScene]:
    async with staged(stack) as oidc:
        yield oidc


@pytest.fixture
async def oidc(oidc_of_the_module: OidcScene) -> OidcScene:
    """A provider that behaves, and addresses that have not failed."""
    oidc_of_the_module.provider.behave()
    await run(oidc_of_the_module.town.stack, "DELETE FROM sign_in_failures")
    return oidc_of_the_module
