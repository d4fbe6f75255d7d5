"""Routes of partner apps."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from litestar import Controller, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import fan_out, installing
from services.apps.audit import By, changes_between, note
from services.apps.core.partner_apps import PartnerApp, flaw_of
from services.apps.http.models import RotateRequest
from services.apps.http.partner_app_models import (
    PartnerAppPatch,
    PartnerAppRequest,
    PartnerAppView,
    app_view,
    budget_model,
    permission_model,
)
from services.apps.http.shown_once import answer_once
from services.apps.http.wiring import Wiring, by_caller
from services.apps.secrets import new_secret
from services.apps.store import partner_apps
from services.apps.store.partner_apps import SecretRow
from shared.auth.guard import ApiRequest, requires
from shared.auth.keys import hash_credential
from shared.contracts.model import JsonObject
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.postgres import Connection

READ, WRITE = requires("apps.read"), requires("apps.write")
_HINT_CHARS = 4


class PartnerAppController(Controller):
    """Apps that other merchants can install."""

    path = "/v1/developer/partner/apps"
    tags = ("Partner apps",)

    @post(
        guards=[WRITE],
        **operation(
            "Register an app",
            description=(
                "Made with a test key it can be installed in test only, with a live key in both environments. Its "
                "secret is in this answer only: a replayed one has `client_secret: null`; rotate for another."
            ),
            takes=PartnerAppRequest,
            gives=PartnerAppView,
            status=201,
            idempotent=True,
        ),
    )
    async def create_partner_app(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, PartnerAppRequest)
        wiring: Wiring = state.apps
        by = by_caller(request, wiring.clock())
        app = _checked(_new_app(body, request, by))
        secret, row = _new_secret(app.app_id, by)

        async def effect(connection: Connection) -> PartnerAppView:
            await partner_apps.insert(connection, app)
            await partner_apps.insert_secret(connection, row)
            await _note(connection, by, "created", app, changes_between({}, _noted(app)))
            return app_view(app, [row], secret)

        return await answer_once(request, wiring, 201, effect)

    @get(
        guards=[READ],
        **operation(
            "List apps",
            description="Newest first.",
            query=ListQuery,
            gives=PartnerAppView,
            listed=True,
        ),
    )
    async def list_partner_apps(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, ListQuery)
        wiring: Wiring = state.apps
        access, after = request.user, query.time_position()
        found = await partner_apps.page(wiring.pool, access.merchant, access.environment, after, query.page_size + 1)
        page, token = page_by_time(found, query, lambda app: (app.created_at, app.app_id))
        now = wiring.clock()
        views = [app_view(app, await partner_apps.live_secrets(wiring.pool, app.app_id, now)) for app in page]
        return many(request, views, token)

    @get("/{partner_app_id:str}", guards=[READ], **operation("Read an app", gives=PartnerAppView))
    async def read_partner_app(self, request: ApiRequest, state: State, partner_app_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        app = await partner_apps.read(wiring.pool, request.user.merchant, request.user.environment, partner_app_id)
        if app is None:
            raise _unknown()
        return one(request, app_view(app, await partner_apps.live_secrets(wiring.pool, app.app_id, wiring.clock())))

    @patch(
        "/{partner_app_id:str}",
        guards=[WRITE],
        **operation(
            "Change an app",
            description="What merchants have approved stays as it is: new permissions need a new approval.",
            takes=PartnerAppPatch,
            gives=PartnerAppView,
            problems=("VERSION_CONFLICT",),
            idempotent=True,
        ),
    )
    async def update_partner_app(self, request: ApiRequest, state: State, partner_app_id: FromPath[str]) -> Answer:
        body = await read_body(request, PartnerAppPatch)
        wiring: Wiring = state.apps
        by = by_caller(request, wiring.clock())
        secrets = await partner_apps.live_secrets(wiring.pool, partner_app_id, by.at)

        async def effect(connection: Connection) -> tuple[int, bytes]:
            app = await _lock(connection, request, partner_app_id)
            if body.expected_version not in (None, app.version):
                facts = {"current_version": app.version}
                detail = f"The app is at version {app.version}."
                raise Problem("VERSION_CONFLICT", detail, param="expected_version", facts=facts)
            changed = _checked(_changed(app, body, by))
            await partner_apps.save(connection, changed)
            await _note(connection, by, "updated", app, changes_between(_noted(app), _noted(changed)))
            return 200, one_bytes(request, app_view(changed, secrets))

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), by.at, effect)

    @post(
        "/{partner_app_id:str}/rotate-secret",
        guards=[WRITE],
        **operation(
            "Give an app a new secret",
            description=(
                "The secrets of before work for the overlap. The new one is in this answer only, never in a replayed "
                "one: for another secret use another idempotency key."
            ),
            takes=RotateRequest,
            gives=PartnerAppView,
            idempotent=True,
        ),
    )
    async def rotate_partner_app_secret(
        self, request: ApiRequest, state: State, partner_app_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, RotateRequest)
        wiring: Wiring = state.apps
        by = by_caller(request, wiring.clock())
        secret, row = _new_secret(partner_app_id, by)

        async def effect(connection: Connection) -> PartnerAppView:
            app = await _lock(connection, request, partner_app_id)
            await partner_apps.end_secrets(connection, app.app_id, by.at + timedelta(seconds=body.overlap_s))
            await partner_apps.insert_secret(connection, row)
            await _note(connection, by, "secret_rotated", app)
            return app_view(app, await partner_apps.live_secrets(connection, app.app_id, by.at), secret)

        return await answer_once(request, wiring, 200, effect)

    @delete(
        "/{partner_app_id:str}",
        guards=[WRITE],
        **operation(
            "Delete an app",
            description="Every install of it ends; merchants keep the record that it was there.",
            status=204,
            idempotent=True,
        ),
    )
    async def delete_partner_app(self, request: ApiRequest, state: State, partner_app_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        by = by_caller(request, wiring.clock())

        async def effect(connection: Connection) -> tuple[int, bytes]:
            app = await _lock(connection, request, partner_app_id)
            deleted = replace(app, status="deleted", version=app.version + 1, updated_at=by.at)
            await partner_apps.save(connection, deleted)
            await partner_apps.end_secrets(connection, app.app_id, by.at)
            await installing.revoke_all(connection, by, app.app_id)
            await fan_out.forget(connection, app.app_id, by.at)
            await _note(connection, by, "deleted", app)
            return 204, b""

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), by.at, effect)
        wiring.committed()
        return answer


def _new_app(body: PartnerAppRequest, request: ApiRequest, by: By) -> PartnerApp:
    return PartnerApp(
        app_id=new_id("app"),
        merchant_id=request.user.merchant,
        environment=request.user.environment,
        name=body.name,
        type=body.type,
        redirect_uris=tuple(body.redirect_uris),
        manifest=tuple(each.permission() for each in body.manifest),
        created_at=by.at,
        updated_at=by.at,
        default_permission_ids=tuple(body.default_permission_ids),
        money_budgets=tuple(each.budget() for each in body.money_budgets),
    )


def _changed(app: PartnerApp, body: PartnerAppPatch, by: By) -> PartnerApp:
    given: dict[str, Any] = {
        "name": body.name,
        "redirect_uris": None if body.redirect_uris is None else tuple(body.redirect_uris),
        "manifest": None if body.manifest is None else tuple(each.permission() for each in body.manifest),
        "default_permission_ids": None if body.default_permission_ids is None else tuple(body.default_permission_ids),
        "money_budgets": None if body.money_budgets is None else tuple(each.budget() for each in body.money_budgets),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(app, **changes, version=app.version + 1, updated_at=by.at)


def _checked(app: PartnerApp) -> PartnerApp:
    flaw = flaw_of(app)
    if flaw is not None:
        raise Problem("VALIDATION_FAILED", flaw.detail, param=flaw.param)
    return app


def _new_secret(app_id: str, by: By) -> tuple[str, SecretRow]:
    secret = new_secret("client")
    return secret, SecretRow(new_id("sec"), app_id, hash_credential(secret), secret[-_HINT_CHARS:], by.at, None)


async def _lock(connection: Connection, request: ApiRequest, app_id: str) -> PartnerApp:
    app = await partner_apps.lock(connection, request.user.merchant, request.user.environment, app_id)
    if app is None:
        raise _unknown()
    return app


def _noted(app: PartnerApp) -> JsonObject:
    return {
        "name": app.name,
        "redirect_uris": list(app.redirect_uris),
        "manifest": [permission_model(each).model_dump(mode="json") for each in app.manifest],
        "default_permission_ids": list(app.default_permission_ids),
        "money_budgets": [budget_model(each).model_dump(mode="json") for each in app.money_budgets],
    }


async def _note(connection: Connection, by: By, done: str, app: PartnerApp, changes: JsonObject | None = None) -> None:
    entry = by.did(
        f"partner_app.{done}", app.app_id, merchant_id=app.merchant_id, environment=app.environment, changes=changes
    )
    await note(connection, entry)


def _unknown() -> Problem:
    return not_found("There is no such app.")
