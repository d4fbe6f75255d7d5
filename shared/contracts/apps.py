"""What the apps service tells of installed apps and webhook endpoints.

`apps.events`, key = the id of what the event is about. Each message holds that as it was afterwards, in the field that
is named like it.
"""

from typing import ClassVar, Literal

from shared.contracts.access import Environment, Scope
from shared.contracts.model import Identifier, Message, Part


class Installation(Part):
    """An app at a merchant, and what it may do in one environment."""

    partner_app_install_id: Identifier
    partner_app_id: Identifier
    environment_grant_id: Identifier
    merchant_id: Identifier
    mode: Environment
    status: Literal["active", "revoked"]
    permission_ids: tuple[str, ...]
    scopes: tuple[Scope, ...]


class InstallCreated(Message):
    """A merchant has let the app in, here for the first time."""

    wire_type: ClassVar[str] = "apps.install_created.v1"

    partner_app_install: Installation


class InstallPermissionsUpdated(Message):
    """The merchant has approved other permissions than before."""

    wire_type: ClassVar[str] = "apps.install_permissions_updated.v1"

    partner_app_install: Installation
    scopes_before: tuple[Scope, ...]


class InstallRevoked(Message):
    """The app is out of the merchant; told in each environment in which that happened."""

    wire_type: ClassVar[str] = "apps.install_revoked.v1"

    partner_app_install: Installation


class EnvironmentGrantCreated(Message):
    """The app may do something in this environment."""

    wire_type: ClassVar[str] = "apps.environment_grant_created.v1"

    environment_grant: Installation


class EnvironmentGrantRevoked(Message):
    """The app may do nothing more in this environment."""

    wire_type: ClassVar[str] = "apps.environment_grant_revoked.v1"

    environment_grant: Installation


class DisabledEndpoint(Part):
    """A webhook endpoint to which nothing is sent any more."""

    webhook_endpoint_id: Identifier
    environment_grant_id: Identifier | None
    """Of the app whose endpoint it is; `null`: it is the merchant's own."""
    url: str
    """Up to its query, which may hold a secret."""
    event_types: tuple[str, ...]
    status: Literal["disabled"] = "disabled"
    disabled_reason: Literal["requested", "gone", "failing", "revoked"]


class WebhookEndpointDisabled(Message):
    """Nothing more is sent to the endpoint: its owner wanted that, or it fails, or its app is out."""

    wire_type: ClassVar[str] = "apps.webhook_endpoint_disabled.v1"

    webhook_endpoint: DisabledEndpoint
