"""Routes of the sandbox: those that processors' clients call, and the page on which a buyer answers a challenge."""

import hmac
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from litestar import Controller, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from pydantic import SecretStr

from services.sandbox.acquirer import CHALLENGE_PATH, MovementQuery, SandboxAcquirer
from services.sandbox.pages.challenge import Way, challenge_page, gone_page, later_page, over_page
from shared.auth.guard import bearer, unauthenticated
from shared.contracts.sandbox import SandboxLookUp, SandboxOutcome, SandboxRequest
from shared.faults import OutcomeUnknown, Transient
from shared.http.answers import Answer, AnyRequest, many, one
from shared.http.bodies import read_body, read_query
from shared.http.browser import FOR_PEOPLE, Page, field, is_sent_from_here, page, read_form, redirect
from shared.http.edge import hang_up
from shared.http.problems import RETRY_AFTER_S, Problem


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the routes need, found in the app's state."""

    acquirer: SandboxAcquirer
    secret: SecretStr
    base_url: str


async def knows_the_secret(connection: ASGIConnection[Any, Any, Any, State], _: BaseRouteHandler) -> None:
    """The guard of what moves money."""
    wiring: Wiring = connection.app.state.sandbox
    expected, given = wiring.secret.get_secret_value(), bearer(connection.scope["headers"])
    if given is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise unauthenticated()


class SandboxController(Controller):
    """The acquirer's own API; it is no part of Throughline's, and so not in its reference."""

    path = "/sandbox/v1"
    guards = [knows_the_secret]
    include_in_schema = False

    @post("/attempts", status_code=200)
    async def ask(self, request: AnyRequest, state: State) -> Answer:
        body = await read_body(request, SandboxRequest)
        return await _told(request, state.sandbox.acquirer.ask(body))

    @post("/look-ups", status_code=200)
    async def look_up(self, request: AnyRequest, state: State) -> Answer:
        body = await read_body(request, SandboxLookUp)
        return await _told(request, state.sandbox.acquirer.look_up(body))

    @get("/movements")
    async def list_movements(self, request: AnyRequest, state: State) -> Answer:
        acquirer: SandboxAcquirer = state.sandbox.acquirer
        found = await acquirer.movements_of(read_query(request, MovementQuery))
        return many(request, found.movements, found.next_page_token)


def _later(_request: AnyRequest, _error: Transient) -> Page:
    """Said to a person, and not logged with the path, which is a secret."""
    return page(later_page(), 503, **{"Retry-After": str(RETRY_AFTER_S)})


class ChallengeController(Controller):
    """Where a buyer answers a challenge. Whoever knows the address may: nobody else can find or make it."""

    path = CHALLENGE_PATH
    exception_handlers = {Transient: _later}

    @get("/{secret:str}", **FOR_PEOPLE)
    async def show_challenge(self, state: State, secret: FromPath[str]) -> Page:
        wiring: Wiring = state.sandbox
        payment = await wiring.acquirer.challenge(secret)
        if payment is None:
            return page(gone_page(), 404)
        way = Way.of(payment.return_url)
        if not payment.challenged:
            return page(over_page(payment, way))
        return page(challenge_page(payment), form_targets=[way.origin] if way else [])

    @post("/{secret:str}", status_code=200, **FOR_PEOPLE)
    async def answer_challenge(self, request: AnyRequest, state: State, secret: FromPath[str]) -> Page:
        wiring: Wiring = state.sandbox
        form = await read_form(request)
        if not is_sent_from_here(request, wiring.base_url):
            raise Problem("NOT_ALLOWED", "This form was not sent from the page of the challenge.")
        payment = await wiring.acquirer.answer_challenge(secret, approves=field(form, "decision") == "approve")
        if payment is None:
            return page(gone_page(), 404)
        way = Way.of(payment.return_url)
        return redirect(way.url if way else f"{CHALLENGE_PATH}{secret}")


async def _told(request: AnyRequest, asked: Awaitable[SandboxOutcome]) -> Answer:
    """The outcome; where it gets lost the connection ends, or, at a server that cannot do that, 503 is the answer."""
    try:
        return one(request, await asked)
    except OutcomeUnknown as lost:
        await hang_up(request.scope, request.receive)
        raise Transient(str(lost)) from lost
