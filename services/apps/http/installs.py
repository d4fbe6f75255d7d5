"""Routes of the installs of a partner app: for its owner, and for the merchants that installed it."""

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import installing
from services.apps.http.partner_app_models import InstallView, install_view
from services.apps.http.wiring import Wiring, by_caller
from services.apps.store import installs, partner_apps
from services.apps.store.installs import EnvironmentGrant, Install
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection, Pool

READ, WRITE = requires("apps.read"), requires("apps.write")


class InstallController(Controller):
    """Where a partner app is installed. Its owner sees every install, a merchant its own in its key's environment."""

    path = "/v1/developer/partner/apps/{partner_app_id:str}"
    tags = ("Installs",)

    @get(
        "/installs",
        guards=[READ],
        **operation("List installs", description="Newest first.", query=ListQuery, gives=InstallView, listed=True),
    )
    async def list_installs(self, request: ApiRequest, state: State, partner_app_id: FromPath[str]) -> Answer:
        query = read_query(request, ListQuery)
        wiring: Wiring = state.apps
        mine = None if await _owns(wiring.pool, request.user, partner_app_id) else _tenant(request.user)
        found = await installs.page(wiring.pool, partner_app_id, mine, query.time_position(), query.page_size + 1)
        if not found and await partner_apps.by_client_id(wiring.pool, partner_app_id) is None:
            raise not_found("There is no such app.")
        page, token = page_by_time(found, query, lambda install: (install.created_at, install.install_id))
        grants = await installs.grants_of(wiring.pool, [install.install_id for install in page])
        views = [install_view(each, _seen(grants[each.install_id], mine)) for each in page]
        return many(request, views, token)

    @get("/installs/{install_id:str}", guards=[READ], **operation("Read an install", gives=InstallView))
    async def read_install(
        self, request: ApiRequest, state: State, partner_app_id: FromPath[str], install_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        mine = None if await _owns(wiring.pool, request.user, partner_app_id) else _tenant(request.user)
        install = await installs.read(wiring.pool, partner_app_id, install_id)
        if install is None:
            raise _unknown()
        grants = (await installs.grants_of(wiring.pool, [install_id]))[install_id]
        return one(request, _visible(install, grants, mine))

    @post(
        "/installs/{install_id:str}/revoke",
        guards=[WRITE],
        **operation(
            "Revoke an install",
            description=(
                "The app is shut out of every service, topic, webhook and stream within a second. A merchant's key "
                "ends what the app may do in the key's environment; the install ends with the last of it."
            ),
            gives=InstallView,
            idempotent=True,
        ),
    )
    async def revoke_install(
        self, request: ApiRequest, state: State, partner_app_id: FromPath[str], install_id: FromPath[str]
    ) -> Answer:
        return await _revoke(request, state.apps, partner_app_id, install_id, None)

    @post(
        "/grants/{grant_id:str}/revoke",
        guards=[WRITE],
        **operation(
            "Revoke an environment grant",
            description="What the app may do in one environment ends; the answer is the install.",
            gives=InstallView,
            idempotent=True,
        ),
    )
    async def revoke_environment_grant(
        self, request: ApiRequest, state: State, partner_app_id: FromPath[str], grant_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        whose = await installs.whose(wiring.pool, grant_id)
        if whose is None:
            raise _unknown()
        return await _revoke(request, wiring, partner_app_id, whose[0], grant_id)


async def _revoke(request: ApiRequest, wiring: Wiring, app_id: str, install_id: str, grant_id: str | None) -> Answer:
    by = by_caller(request, wiring.clock())
    mine = None if await _owns(wiring.pool, request.user, app_id) else _tenant(request.user)

    async def effect(connection: Connection) -> tuple[int, bytes]:
        held = await installs.lock(connection, install_id)
        if held is None or held[0].app_id != app_id:
            raise _unknown()
        _visible(*held, mine)
        ending = [grant.grant_id for grant in _seen(held[1], mine) if grant_id in (None, grant.grant_id)]
        if not ending:
            raise _unknown()
        await installing.revoke(connection, by, *held, ending)
        after = await installs.lock(connection, install_id)
        return 200, one_bytes(request, _visible(*(after or held), mine))

    answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), by.at, effect)
    wiring.committed()
    return answer


async def _owns(pool: Pool, access: Access, app_id: str) -> bool:
    return await partner_apps.read(pool, access.merchant, access.environment, app_id) is not None


def _tenant(access: Access) -> installs.Tenant:
    return access.merchant, access.environment


def _seen(grants: list[EnvironmentGrant], mine: installs.Tenant | None) -> list[EnvironmentGrant]:
    """Those that the caller may see: all of them without a tenant, otherwise the tenant's."""
    return [grant for grant in grants if mine in (None, (grant.merchant_id, grant.environment))]


def _visible(install: Install, grants: list[EnvironmentGrant], mine: installs.Tenant | None) -> InstallView:
    seen = _seen(grants, mine)
    if not seen:
        raise _unknown()
    return install_view(install, seen)


def _unknown() -> Problem:
    return not_found("There is no such install.")
