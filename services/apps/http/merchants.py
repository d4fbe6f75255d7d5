"""Routes of merchants."""

from litestar import Controller, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import merchants as life
from services.apps.core.merchants import Merchant, may_become
from services.apps.http.models import (
    MOST_METADATA,
    EnvironmentView,
    MerchantPatch,
    MerchantRequest,
    MerchantsQuery,
    MerchantView,
)
from services.apps.http.wiring import Wiring, by_caller
from services.apps.store import merchants
from shared.auth.guard import ApiRequest, platform_only
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.postgres import Connection

_FIELDS = {"name", "status", "country", "default_currency", "time_zone"}


class MerchantController(Controller):
    """Who sells. Merchants are made by the platform, with a test and a live environment that share nothing."""

    path = "/v1/merchants"
    tags = ("Merchants",)

    @post(
        guards=[platform_only],
        **operation("Create a merchant", takes=MerchantRequest, gives=MerchantView, status=201, idempotent=True),
    )
    async def create_merchant(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, MerchantRequest)
        wiring: Wiring = state.apps
        now = wiring.clock()
        merchant = Merchant(
            merchant_id=new_id("mer"),
            test_environment_id=new_id("env"),
            live_environment_id=new_id("env"),
            **body.model_dump(),
            created_at=now,
            updated_at=now,
        )

        async def effect(connection: Connection) -> tuple[int, bytes]:
            await life.create(connection, by_caller(request, now), merchant)
            return 201, one_bytes(request, _view(merchant))

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)

    @get(
        guards=[platform_only],
        **operation(
            "List merchants",
            description="Newest first.",
            query=MerchantsQuery,
            gives=MerchantView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_merchants(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, MerchantsQuery)
        wiring: Wiring = state.apps
        found = await merchants.page(wiring.pool, query.status, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda merchant: (merchant.created_at, merchant.merchant_id))
        return many(request, [_view(merchant) for merchant in page], token)

    @get("/{merchant_id:str}", guards=[platform_only], **operation("Read a merchant", gives=MerchantView))
    async def read_merchant(self, request: ApiRequest, state: State, merchant_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        found = await merchants.read(wiring.pool, merchant_id)
        if found is None:
            raise _unknown()
        return one(request, _view(found))

    @patch(
        "/{merchant_id:str}",
        guards=[platform_only],
        **operation(
            "Change a merchant",
            description=(
                "With `status: suspended` none of its credentials is accepted any more, within a second; with "
                "`status: active` they are again. A closed merchant stays closed."
            ),
            takes=MerchantPatch,
            gives=MerchantView,
            problems=("VERSION_CONFLICT", "MERCHANT_NOT_ACTIVE"),
            idempotent=True,
        ),
    )
    async def update_merchant(self, request: ApiRequest, state: State, merchant_id: FromPath[str]) -> Answer:
        body = await read_body(request, MerchantPatch)
        wiring: Wiring = state.apps
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            before = await merchants.lock(connection, merchant_id)
            if before is None:
                raise _unknown()
            _check(body, before)
            after = await life.change(connection, by_caller(request, now), before, _changed(body, before))
            return 200, one_bytes(request, _view(after))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)
        wiring.committed()
        return answer


def _check(body: MerchantPatch, before: Merchant) -> None:
    if body.expected_version not in (None, before.version):
        detail = f"The merchant is at version {before.version}."
        facts = {"current_version": before.version}
        raise Problem("VERSION_CONFLICT", detail, param="expected_version", facts=facts)
    if "status" in body.model_fields_set and not may_become(before.status, body.status):
        raise Problem("MERCHANT_NOT_ACTIVE", "The merchant is closed, and stays so.", param="status")


def _changed(body: MerchantPatch, before: Merchant) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(body, name) for name in body.model_fields_set & _FIELDS}
    if body.metadata is None:
        return fields
    merged = {**before.metadata, **body.metadata}
    metadata = {key: text for key, text in merged.items() if text is not None}
    if len(metadata) > MOST_METADATA:
        raise Problem("VALIDATION_FAILED", f"metadata: Must have at most {MOST_METADATA} keys.", param="metadata")
    return {**fields, "metadata": metadata}


def _view(merchant: Merchant) -> MerchantView:
    return MerchantView(
        merchant_id=merchant.merchant_id,
        name=merchant.name,
        status=merchant.status,
        country=merchant.country,
        default_currency=merchant.default_currency,
        time_zone=merchant.time_zone,
        metadata=merchant.metadata,
        environments=[
            EnvironmentView(environment_id=merchant.test_environment_id, environment="test"),
            EnvironmentView(environment_id=merchant.live_environment_id, environment="live"),
        ],
        version=merchant.version,
        created_at=merchant.created_at,
        updated_at=merchant.updated_at,
    )


def _unknown() -> Problem:
    return not_found("There is no such merchant.")
