"""What the routes of partner apps, OAuth and staff need, found in the app's state as `installing`."""

from collections.abc import Callable
from dataclasses import dataclass

from services.apps.installing import Act
from services.apps.oauth import OAuth
from services.apps.signing_keys import TokenSigner
from services.apps.staff import Staff
from shared.auth.guard import ApiRequest
from shared.auth.tokens import AccessTokens
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.http.answers import AnyRequest
from shared.http.requests import request_id_of
from shared.postgres import Pool


@dataclass(frozen=True, slots=True)
class InstallWiring:
    """`committed` is called after each commit that may have left messages in the outbox; `base_url` is the issuer."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]
    base_url: str
    oauth: OAuth
    signer: TokenSigner
    tokens: AccessTokens
    staff: Staff


def act_of(request: AnyRequest, wiring: InstallWiring, actor: Actor) -> Act:
    """What the actor does with this request."""
    return Act(actor, wiring.clock(), request_id_of(request.scope))


def act_of_key(request: ApiRequest, wiring: InstallWiring) -> Act:
    """What the request's credential does."""
    return act_of(request, wiring, request.user.actor)
