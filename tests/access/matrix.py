"""What the matrix knows of a route, who calls it, and what each of them must be told."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from services.apps.core.partner_apps import GRANTABLE_SCOPES
from tests.people import Json, Town

ANYONE, PLATFORM = "any credential", "a platform's"


@dataclass(frozen=True)
class Made:
    """An object of the owner's: what its path holds, and where the owner sees whether it has changed."""

    path: Mapping[str, str]
    witness: str | None = None
    body: Any = None
    """What the route is sent, where that depends on the object."""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Callers:
    """Clients of one merchant in test, and of everybody else. Each may do everything but what its name says."""

    owner: httpx2.AsyncClient
    own_app: httpx2.AsyncClient
    """An app with an access token of the owner's."""
    nobody: httpx2.AsyncClient
    malformed: httpx2.AsyncClient
    revoked: httpx2.AsyncClient
    expired: httpx2.AsyncClient
    live: httpx2.AsyncClient
    """The owner's key in the other environment."""
    stranger: httpx2.AsyncClient
    """Another merchant's key."""
    live_stranger: httpx2.AsyncClient
    """The same in live."""
    other_app: httpx2.AsyncClient
    """Another app, with an access token of another merchant's."""
    platform: httpx2.AsyncClient
    without: Mapping[str, httpx2.AsyncClient]
    """By scope: the owner's key that has every other one."""
    merchant_id: str
    town: Town
    """Where further people and apps come from."""


Make = Callable[[Callers], Awaitable[Made]]


async def nothing(_: Callers) -> Made:
    """For routes that are about no object in particular."""
    return Made({})


@dataclass(frozen=True)
class Entry:
    """How the matrix calls a route. `needs` is said here again, by hand, so that a guard that is lost shows."""

    needs: str
    make: Make = nothing
    body: Any = None
    platform: bool = False
    """Whether a platform's credential may call it too."""
    lists: str | None = None
    """The name in `Made.path` of what the owner finds in the answer and nobody else does."""
    both_environments: bool = False
    """Whether the object belongs to the merchant as a whole."""
    live_only: bool = False
    """Whether no test key may call it, though the object is there in test too."""
    further: tuple[str, ...] = ()
    """Scopes that it needs beside `needs`."""
    apps_only: bool = False
    """Whether it is about the app that asks, so that no key may call it."""
    unknown: tuple[int, str] = (404, "NOT_FOUND")
    """What those are told for whom the object is not there."""
    endless: bool = False
    """Whether the answer is a stream."""
    options: Json = field(default_factory=dict)
    """Further arguments of the request."""


@dataclass(frozen=True)
class Refusal:
    """Who is told what."""

    who: str
    client: httpx2.AsyncClient
    status: int
    code: str


def refusals(entry: Entry, callers: Callers) -> list[Refusal]:
    """Everybody who must be refused at this route."""
    found = [
        Refusal(who, getattr(callers, who), 401, "UNAUTHENTICATED")
        for who in ("nobody", "malformed", "revoked", "expired")
    ]
    if entry.needs == PLATFORM:
        found += [Refusal(who, getattr(callers, who), 403, "NOT_ALLOWED") for who in ("owner", "live", "other_app")]
    elif entry.needs != ANYONE:
        found += [
            Refusal(f"without {scope}", callers.without[scope], 403, "INSUFFICIENT_SCOPE")
            for scope in (entry.needs, *entry.further)
        ]
        if entry.apps_only:
            found += [Refusal(who, getattr(callers, who), 403, "NOT_ALLOWED") for who in ("owner", "stranger", "live")]
        if entry.live_only:
            found += [Refusal(who, getattr(callers, who), 403, "NOT_ALLOWED") for who in ("owner", "stranger")]
        if not entry.platform:
            found.append(Refusal("platform", callers.platform, 403, "NOT_ALLOWED"))
        if entry.needs not in APP_SCOPES:
            found.append(Refusal("other_app", callers.other_app, 403, "INSUFFICIENT_SCOPE"))
    return found


def outsiders(entry: Entry, callers: Callers) -> list[Refusal]:
    """Those who may call the route, and for whom the owner's object is not there."""
    if entry.needs in (PLATFORM, ANYONE):
        return []
    if entry.live_only:
        whose = ["live_stranger"]
    else:
        whose = [] if entry.apps_only else ["stranger"] if entry.both_environments else ["stranger", "live"]
    if entry.needs in APP_SCOPES:
        whose.append("other_app")
    return [Refusal(who, getattr(callers, who), *entry.unknown) for who in whose]


def who_may(entry: Entry, callers: Callers) -> httpx2.AsyncClient:
    """Somebody who is not refused."""
    if entry.needs == PLATFORM:
        return callers.platform
    if entry.live_only:
        return callers.live
    return callers.own_app if entry.apps_only else callers.owner


APP_SCOPES = frozenset(GRANTABLE_SCOPES)
"""What both apps were granted: all that an app can have."""
