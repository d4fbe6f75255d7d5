"""How much an app may ask of OAuth's endpoints."""

import httpx2
import pytest

from deploy.local.ports import Ports
from deploy.services import create_service
from shared.settings import UNLIMITED
from tests.oauth_scene import Scene
from tests.people import Json
from tests.stack import Stack, serving

pytestmark = pytest.mark.servers


async def test_an_app_in_a_loop_is_told_to_wait_and_others_are_not(stack: Stack, scene: Scene) -> None:
    # Nothing comes back while the test runs, so that what it counts is exact.
    limits = UNLIMITED.model_copy(update={"installation_per_s": 0.001, "installation_burst": 4})
    settings = stack.settings.model_copy(update={"rate_limits": limits})
    other = await scene.app_of(await scene.key(scene.merchant_id))
    async with serving(create_service("apps", settings, "api"), Ports.free().postgres) as base_url:
        client = await scene.client()

        async def ask(app: Json, path: str) -> httpx2.Response:
            body = {"token": "none", "grant_type": "none"}
            return await client.post(
                f"{base_url}/v1/oauth/{path}", data=body, auth=(app["partner_app_id"], app["client_secret"])
            )

        answers = [await ask(scene.app, path) for path in ("introspect", "revoke", "introspect", "token") * 2]
        assert [each.status_code for each in answers] == [200, 200, 200, 400] + [429] * 4
        assert [each.headers["RateLimit"].partition(";t")[0] for each in answers[:3]] == [
            f'"credential";r={left}' for left in (3, 2, 1)
        ]
        assert answers[-1].json()["code"] == "RATE_LIMITED"
        assert int(answers[-1].headers["Retry-After"]) > 900
        assert (await ask(other, "introspect")).status_code == 200
        for _ in range(5):
            assert (await ask(other | {"client_secret": "wrong"}, "introspect")).status_code == 401
        assert (await ask(other, "introspect")).status_code == 200, "nobody else takes what is its own"
