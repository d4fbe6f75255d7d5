"""What clients send and get about partner apps and their installs."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from services.apps.core.partner_apps import (
    GRANTABLE_SCOPES,
    AppType,
    MoneyBudget,
    MoneyEffect,
    PartnerApp,
    Period,
    Permission,
)
from services.apps.http.shown_once import ShowsOnce
from services.apps.http.texts import Description, Name, RedirectUri, Title
from services.apps.store.installs import EnvironmentGrant, Install, Status
from services.apps.store.partner_apps import SecretRow
from shared.contracts.access import Environment, Scope
from shared.contracts.model import PositiveMoney
from shared.http.answers import AnswerModel
from shared.http.bodies import PositiveAmountMoney, RequestModel, shown

Json = dict[str, Any]

_MANIFEST: Json = {
    "permission_id": "read_orders",
    "title": "Read your orders",
    "description": "To print a packing list for each paid order.",
    "required_scopes": ["orders.read"],
    "optional": False,
}
_BUDGET: Json = {"effect": "refund", "limit_money": {"amount": 50000, "currency": "EUR"}, "period": "day"}
_NEW: Json = {
    "name": "Packing lists",
    "type": "server",
    "redirect_uris": ["https://packing.example/installed"],
    "manifest": [_MANIFEST],
}
_TIMES: Json = {"created_at": "2026-11-21T11:58:00Z", "updated_at": "2026-11-21T11:58:00Z"}
_SECRET: Json = {"hint": "k3Qx", "created_at": "2026-11-21T11:58:00Z", "ends_at": None}
_APP: Json = {
    **_NEW,
    "partner_app_id": "app_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "modes": ["test"],
    "default_permission_ids": [],
    "money_budgets": [_BUDGET],
    "client_secret": None,
    "client_secrets": [_SECRET],
    "version": 1,
    **_TIMES,
}
_GRANT: Json = {
    "environment_grant_id": "grt_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
    "mode": "test",
    "status": "active",
    "permission_ids": ["read_orders"],
    "scopes": ["orders.read"],
    "revoked_at": None,
    **_TIMES,
}
_INSTALL: Json = {
    "partner_app_install_id": "ins_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
    "partner_app_id": "app_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "merchant_id": "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC",
    "status": "active",
    "environment_grants": [_GRANT],
    "revoked_at": None,
    **_TIMES,
}


PermissionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
GrantableScope = Annotated[Scope, Field(json_schema_extra={"enum": list(GRANTABLE_SCOPES)})]


class PermissionModel(RequestModel):
    """One thing that the app asks for; the merchant sees title and description."""

    model_config = shown(_MANIFEST)

    permission_id: PermissionId
    title: Title
    description: Description
    required_scopes: Annotated[list[GrantableScope], Field(min_length=1, max_length=20)]
    optional: bool = False
    """The merchant can leave it out."""

    def permission(self) -> Permission:
        """As the rules know it."""
        scopes = tuple(self.required_scopes)
        return Permission(self.permission_id, self.title, self.description, scopes, self.optional)


class MoneyBudgetModel(RequestModel):
    """The most that the app says it will move in each period; shown to the merchant."""

    model_config = shown(_BUDGET)

    effect: MoneyEffect
    limit_money: PositiveAmountMoney
    period: Period

    def budget(self) -> MoneyBudget:
        """As the rules know it."""
        money = PositiveMoney(amount=self.limit_money.amount, currency=self.limit_money.currency)
        return MoneyBudget(self.effect, money, self.period)


RedirectUris = Annotated[list[RedirectUri], Field(min_length=1, max_length=20)]
Manifest = Annotated[list[PermissionModel], Field(min_length=1, max_length=50)]
PermissionIds = Annotated[list[PermissionId], Field(max_length=50)]
Budgets = Annotated[list[MoneyBudgetModel], Field(max_length=20)]


class PartnerAppRequest(RequestModel):
    model_config = shown(_NEW)

    name: Name
    type: AppType
    redirect_uris: RedirectUris
    """Where browsers come back to, compared exactly; `https://`, in test also `http://localhost`."""
    manifest: Manifest
    default_permission_ids: PermissionIds = []
    """The optional permissions that are asked for where an authorization request names none."""
    money_budgets: Budgets = []


class PartnerAppPatch(RequestModel):
    """What installed merchants have approved stays as it is; new permissions need a new approval."""

    model_config = shown({"name": "Packing lists"})

    name: Name | None = None
    redirect_uris: RedirectUris | None = None
    manifest: Manifest | None = None
    default_permission_ids: PermissionIds | None = None
    money_budgets: Budgets | None = None
    expected_version: int | None = None


class ClientSecretView(AnswerModel):
    """A secret that works, by its last characters."""

    hint: str
    created_at: datetime
    ends_at: datetime | None


class PartnerAppView(ShowsOnce):
    """An app that merchants can install."""

    shown_once = "client_secret"

    model_config = shown(_APP)

    partner_app_id: str
    """OAuth's `client_id`."""
    name: str
    type: AppType
    modes: list[Environment]
    """Where it can be installed: an app made with a test key only in test."""
    redirect_uris: list[str]
    manifest: list[PermissionModel]
    default_permission_ids: list[str]
    money_budgets: list[MoneyBudgetModel]
    client_secret: str | None
    """Shown once, when it is made, and kept nowhere: `null` in every other answer, also in a replayed one."""
    client_secrets: list[ClientSecretView]
    version: int
    created_at: datetime
    updated_at: datetime


class EnvironmentGrantView(AnswerModel):
    """What the app may do in one environment of the merchant."""

    model_config = shown(_GRANT)

    environment_grant_id: str
    mode: Environment
    status: Status
    """`pending_exchange` until the app has exchanged its code."""
    permission_ids: list[str]
    scopes: list[str]
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None


class InstallView(AnswerModel):
    """An app at a merchant."""

    model_config = shown(_INSTALL)

    partner_app_install_id: str
    partner_app_id: str
    merchant_id: str
    status: Status
    environment_grants: list[EnvironmentGrantView]
    """To the app's owner all of them, to a merchant those of its key's environment."""
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None


def app_view(app: PartnerApp, secrets: list[SecretRow], client_secret: str | None = None) -> PartnerAppView:
    """The app as its owner sees it."""
    return PartnerAppView(
        partner_app_id=app.app_id,
        name=app.name,
        type=app.type,
        modes=list(app.modes),
        redirect_uris=list(app.redirect_uris),
        manifest=[permission_model(each) for each in app.manifest],
        default_permission_ids=list(app.default_permission_ids),
        money_budgets=[budget_model(each) for each in app.money_budgets],
        client_secret=client_secret,
        client_secrets=[
            ClientSecretView(hint=each.hint, created_at=each.created_at, ends_at=each.ends_at) for each in secrets
        ],
        version=app.version,
        created_at=app.created_at,
        updated_at=app.updated_at,
    )


def permission_model(permission: Permission) -> PermissionModel:
    """A permission as clients see it."""
    return PermissionModel(
        permission_id=permission.permission_id,
        title=permission.title,
        description=permission.description,
        required_scopes=list(permission.required_scopes),
        optional=permission.optional,
    )


def budget_model(budget: MoneyBudget) -> MoneyBudgetModel:
    money = PositiveAmountMoney(amount=budget.limit_money.amount, currency=budget.limit_money.currency)
    return MoneyBudgetModel(effect=budget.effect, limit_money=money, period=budget.period)


def install_view(install: Install, grants: list[EnvironmentGrant]) -> InstallView:
    """An install with those of its grants that the caller may see."""
    return InstallView(
        partner_app_install_id=install.install_id,
        partner_app_id=install.app_id,
        merchant_id=install.merchant_id,
        status=install.status,
        environment_grants=[_grant_view(grant) for grant in grants],
        created_at=install.created_at,
        updated_at=install.updated_at,
        revoked_at=install.revoked_at,
    )


def _grant_view(grant: EnvironmentGrant) -> EnvironmentGrantView:
    return EnvironmentGrantView(
        environment_grant_id=grant.grant_id,
        mode=grant.environment,
        status=grant.status,
        permission_ids=list(grant.permission_ids),
        scopes=list(grant.scopes),
        created_at=grant.created_at,
        updated_at=grant.updated_at,
        revoked_at=grant.revoked_at,
    )
