"""Routes of a merchant's staff."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Controller, delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps.audit import note
from services.apps.core.keys import missing
from services.apps.core.partner_apps import GRANTABLE_SCOPES
from services.apps.core.staff import MAY_INSTALL, Role
from services.apps.http.shown_once import ShowsOnce, answer_once
from services.apps.http.texts import Email, Name
from services.apps.http.wiring import Wiring, by_caller
from services.apps.store import merchants, staff
from services.apps.store.staff import Member, Membership, StaffUser
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, platform_only, requires
from shared.contracts.model import Identifier
from shared.http.answers import Answer, AnswerModel, many, one_bytes
from shared.http.bodies import RequestModel, read_body, read_query, shown
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection

READ = requires("keys.write")
"""Whoever can make credentials can let people in; never an app, which is given no such scope."""
REMOVE = requires("keys.write", live=True)
"""People belong to the merchant in both environments."""
INVITE = requires("keys.write", live=True, platform=True)

_USER: dict[str, Any] = {
    "staff_user_id": "usr_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "email": "ada@shop.example",
    "name": "Ada",
    "role": "owner",
}


class StaffUserRequest(RequestModel):
    model_config = shown({"email": "ada@shop.example", "name": "Ada", "role": "owner"})

    email: Email
    name: Name
    role: Role
    merchant_id: Identifier | None = None
    """Only with a platform key, which belongs to no merchant."""


class InvitationView(ShowsOnce):
    """An invitation; the person belongs to the merchant once it is accepted."""

    shown_once = "invitation_url"

    model_config = shown(
        {
            **_USER,
            "merchant_id": "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC",
            "invitation_url": None,
            "expires_at": "2026-11-28T11:58:00Z",
        }
    )

    staff_user_id: str
    merchant_id: str
    email: str
    name: str
    role: Role
    invitation_url: str | None
    """For the invited person alone, who chooses a password there. Shown once: `null` in a replayed answer."""
    expires_at: datetime


class StaffUserView(AnswerModel):
    """A person who can act for the merchant."""

    model_config = shown({**_USER, "created_at": "2026-11-21T11:58:00Z"})

    staff_user_id: str
    email: str
    name: str
    role: Role
    created_at: datetime


class PasswordResetRequest(RequestModel):
    model_config = shown({"email": "ada@shop.example"})

    email: Email


class MembershipView(AnswerModel):
    """What somebody is at a merchant."""

    merchant_id: str
    role: Role


class StaffAccountView(AnswerModel):
    """A person, with what they are at which merchant."""

    model_config = shown(
        {
            **{name: _USER[name] for name in ("staff_user_id", "email", "name")},
            "memberships": [{"merchant_id": "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC", "role": "owner"}],
        }
    )

    staff_user_id: str
    email: str
    name: str
    memberships: list[MembershipView]


class StaffUserController(Controller):
    """The people who sign in for a merchant."""

    path = "/v1/staff-users"
    tags = ("Staff",)

    @post(
        guards=[INVITE],
        **operation(
            "Invite somebody",
            description=(
                "Give the link to the person and nobody else; it works once, for a week. Another invitation of the "
                "same person replaces it. Owners and managers can give apps every scope that an app can have, for "
                "good: only a key that has all of these itself, and does not expire, invites them."
            ),
            takes=StaffUserRequest,
            gives=InvitationView,
            status=201,
            problems=("NOT_FOUND",),
            idempotent=True,
        ),
    )
    async def invite_staff_user(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, StaffUserRequest)
        wiring: Wiring = state.apps
        _refuse_more_than_own(request.user, body.role)
        merchant_id, by = _merchant(request.user, body), by_caller(request, wiring.clock())

        async def effect(connection: Connection) -> InvitationView:
            if await merchants.hold_status(connection, merchant_id) is None:
                raise not_found("There is no such merchant.")
            user, secret, invitation = await wiring.staff.invite(
                connection, by, merchant_id, email=body.email, name=body.name, role=body.role
            )
            return InvitationView(
                staff_user_id=user.user_id,
                merchant_id=merchant_id,
                email=user.email,
                name=body.name,
                role=body.role,
                invitation_url=f"{wiring.base_url}/join?invitation={secret}",
                expires_at=invitation.expires_at,
            )

        return await answer_once(request, wiring, 201, effect)

    @get(
        guards=[READ],
        **operation(
            "List staff",
            description="Those who came last come first.",
            query=ListQuery,
            gives=StaffUserView,
            listed=True,
        ),
    )
    async def list_staff_users(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, ListQuery)
        wiring: Wiring = state.apps
        found = await staff.members(wiring.pool, request.user.merchant, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda member: (member.created_at, member.user_id))
        return many(request, [_view(member) for member in page], token)

    @post(
        "/reset-password",
        guards=[platform_only],
        **operation(
            "Reset somebody's password",
            description=(
                "For who has forgotten it, or whose e-mail address somebody else has taken. Their password, sessions "
                "and open invitations end at once; what they are at their merchants stays. The next invitation that a "
                "platform key makes for them lets them choose a password; one that a merchant makes does not, as long "
                "as they belong to any merchant."
            ),
            takes=PasswordResetRequest,
            gives=StaffAccountView,
            problems=("NOT_FOUND",),
            idempotent=True,
        ),
    )
    async def reset_staff_password(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, PasswordResetRequest)
        wiring: Wiring = state.apps
        by = by_caller(request, wiring.clock())

        async def effect(connection: Connection) -> tuple[int, bytes]:
            found = await wiring.staff.reset_password(connection, by, body.email)
            if found is None:
                raise not_found("Nobody has this e-mail address.")
            return 200, one_bytes(request, _account(*found))

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), by.at, effect)

    @delete(
        "/{staff_user_id:str}",
        guards=[REMOVE],
        **operation(
            "Remove somebody",
            description="The person no longer acts for the merchant, at once; what they installed stays.",
            status=204,
            idempotent=True,
        ),
    )
    async def remove_staff_user(self, request: ApiRequest, state: State, staff_user_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        by, merchant_id = by_caller(request, wiring.clock()), request.user.merchant

        async def effect(connection: Connection) -> tuple[int, bytes]:
            if not await staff.end_membership(connection, staff_user_id, merchant_id):
                raise not_found("There is no such person at this merchant.")
            await note(connection, by.did("staff_user.removed", staff_user_id, merchant_id=merchant_id))
            return 204, b""

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), by.at, effect)


def _refuse_more_than_own(access: Access, role: Role) -> None:
    """Nobody comes in by a key who could then give apps more than the key can do, or for longer."""
    if access.kind == "platform" or role not in MAY_INSTALL:
        return
    lacking = missing(GRANTABLE_SCOPES, access.scopes)
    if lacking:
        detail = f"A key cannot invite somebody who can give what it lacks: {', '.join(lacking)}."
        raise Problem("INSUFFICIENT_SCOPE", detail, param="role", facts={"missing_scopes": lacking})
    if access.expires_at is not None:
        raise Problem("NOT_ALLOWED", "A key that expires cannot invite somebody who gives for good.", param="role")


def _merchant(access: Access, body: StaffUserRequest) -> str:
    if access.merchant_id is not None:
        if body.merchant_id not in (None, access.merchant_id):
            raise not_found("There is no such merchant.")
        return access.merchant_id
    if body.merchant_id is None:
        raise Problem("VALIDATION_FAILED", "A platform key must name the merchant.", param="merchant_id")
    return body.merchant_id


def _account(user: StaffUser, belongs: Sequence[Membership]) -> StaffAccountView:
    return StaffAccountView(
        staff_user_id=user.user_id,
        email=user.email,
        name=user.name,
        memberships=[MembershipView(merchant_id=each.merchant_id, role=each.role) for each in belongs],
    )


def _view(member: Member) -> StaffUserView:
    return StaffUserView(
        staff_user_id=member.user_id,
        email=member.email,
        name=member.name,
        role=member.role,
        created_at=member.created_at,
    )
