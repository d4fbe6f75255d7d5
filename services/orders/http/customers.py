"""Routes of customers."""

from litestar import Controller, delete, get, patch, post
from litestar.params import FromPath

from services.orders import customers
from services.orders.customers import Tenant
from services.orders.http.models import CustomerView
from services.orders.http.queries import CustomerPatch, CustomerRequest, CustomersQuery
from services.orders.http.wiring import wiring_of
from shared.auth.guard import ApiRequest, requires
from shared.contracts.model import Metadata, MetadataPatch
from shared.contracts.order_parts import MAX_METADATA_KEYS
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.postgres import Connection

READ, WRITE = requires("customers.read"), requires("customers.write")
_FIELDS = {"name", "email", "phone", "external_reference"}


class CustomerController(Controller):
    """Whom orders are for. What names a person is kept here only, and can be deleted."""

    path = "/v1/customers"
    tags = ("Customers",)

    @post(
        guards=[WRITE],
        **operation("Create a customer", takes=CustomerRequest, gives=CustomerView, status=201, idempotent=True),
    )
    async def create_customer(self, request: ApiRequest) -> Answer:
        body = await read_body(request, CustomerRequest)
        wiring = wiring_of(request)
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            fields = body.model_dump()
            made = await customers.insert(connection, _tenant(request), new_id("cus"), fields, now)
            return 201, one_bytes(request, made)

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)

    @get(
        guards=[READ],
        **operation(
            "List customers",
            description="Newest first.",
            query=CustomersQuery,
            gives=CustomerView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_customers(self, request: ApiRequest) -> Answer:
        query = read_query(request, CustomersQuery)
        wiring = wiring_of(request)
        found = await customers.page(
            wiring.pool,
            _tenant(request),
            email=query.email,
            external_reference=query.external_reference,
            text=query.query,
            after=query.time_position(),
            limit=query.page_size + 1,
        )
        page, token = page_by_time(found, query, lambda customer: (customer["created_at"], customer["customer_id"]))
        return many(request, page, token)

    @get("/{customer_id:str}", guards=[READ], **operation("Read a customer", gives=CustomerView))
    async def read_customer(self, request: ApiRequest, customer_id: FromPath[str]) -> Answer:
        wiring = wiring_of(request)
        found = await customers.read(wiring.pool, _tenant(request), customer_id)
        if found is None:
            raise _unknown()
        return one(request, found)

    @patch(
        "/{customer_id:str}",
        guards=[WRITE],
        **operation(
            "Change a customer",
            takes=CustomerPatch,
            gives=CustomerView,
            problems=("VERSION_CONFLICT",),
            idempotent=True,
        ),
    )
    async def update_customer(self, request: ApiRequest, customer_id: FromPath[str]) -> Answer:
        body = await read_body(request, CustomerPatch)
        wiring = wiring_of(request)
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            known = await customers.lock(connection, _tenant(request), customer_id)
            if known is None:
                raise _unknown()
            if body.expected_version not in (None, known["version"]):
                facts = {"current_version": known["version"]}
                detail = f"The customer is at version {known['version']}."
                raise Problem("VERSION_CONFLICT", detail, param="expected_version", facts=facts)
            changed = {name: getattr(body, name) for name in body.model_fields_set & _FIELDS}
            if body.metadata:
                changed["metadata"] = _merged(known["metadata"], body.metadata)
            after = await customers.update(connection, _tenant(request), {**known, **changed}, now)
            return 200, one_bytes(request, after)

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)

    @delete(
        "/{customer_id:str}",
        guards=[WRITE],
        **operation(
            "Delete a customer",
            description="Forgets what names the person; orders keep the bare id.",
            status=204,
            idempotent=True,
        ),
    )
    async def delete_customer(self, request: ApiRequest, customer_id: FromPath[str]) -> Answer:
        wiring = wiring_of(request)
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            if not await customers.forget(connection, _tenant(request), customer_id, now):
                raise _unknown()
            return 204, b""

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)


def _tenant(request: ApiRequest) -> Tenant:
    return Tenant(request.user.merchant, request.user.environment)


def _merged(known: Metadata, patch: MetadataPatch) -> Metadata:
    metadata = {key: value for key, value in {**known, **patch}.items() if value is not None}
    if len(metadata) > MAX_METADATA_KEYS:
        raise Problem("VALIDATION_FAILED", f"At most {MAX_METADATA_KEYS} metadata keys.", param="metadata")
    return metadata


def _unknown() -> Problem:
    return not_found("There is no such customer.")
