"""The routes of merchants, keys, partner apps, installs and staff."""

from tests.access.callers import installed
from tests.access.matrix import ANYONE, PLATFORM, Callers, Entry, Made
from tests.people import APP

_APPS = "/v1/developer/partner/apps"
PERSON = {"email": "grace@shop.example", "name": "Grace", "role": "support"}


async def merchant(callers: Callers) -> Made:
    made = await callers.platform.post("/v1/merchants", json={"name": "Rain & Shine"})
    assert made.status_code == 201, made.text
    return Made({"merchant_id": made.json()["data"]["merchant_id"]})


async def api_key(callers: Callers) -> Made:
    made = await callers.owner.post("/v1/api-keys", json={"name": "Further", "scopes": ["orders.read"]})
    assert made.status_code == 201, made.text
    api_key_id = made.json()["data"]["api_key_id"]
    return Made({"api_key_id": api_key_id}, f"/v1/api-keys/{api_key_id}")


async def partner_app(callers: Callers) -> Made:
    made = await callers.owner.post(_APPS, json=APP)
    assert made.status_code == 201, made.text
    app_id = made.json()["data"]["partner_app_id"]
    return Made({"partner_app_id": app_id}, f"{_APPS}/{app_id}")


async def install(callers: Callers) -> Made:
    """Of the owner's app, by some other merchant."""
    made = await callers.owner.post(_APPS, json=APP)
    assert made.status_code == 201, made.text
    app = made.json()["data"]
    async with installed(callers.town, app, await callers.town.merchant("Buyer")) as client:
        install_id = client.token["partner_app_install_id"]
    witness = f"{_APPS}/{app['partner_app_id']}/installs/{install_id}"
    [grant] = (await callers.owner.get(witness)).json()["data"]["environment_grants"]
    path = {
        "partner_app_id": app["partner_app_id"],
        "install_id": install_id,
        "grant_id": grant["environment_grant_id"],
    }
    return Made(path, witness)


async def staff_user(callers: Callers) -> Made:
    person = await callers.town.person_of(callers.merchant_id)
    users = (await callers.owner.get("/v1/staff-users")).json()["data"]
    [staff_user_id] = [user["staff_user_id"] for user in users if user["email"] == person.email]
    return Made({"staff_user_id": staff_user_id}, "/v1/staff-users")


async def somebody(callers: Callers) -> Made:
    person = await callers.town.person_of(callers.merchant_id)
    return Made({}, "/v1/staff-users", {"email": person.email})


ENTRIES = {
    "GET /v1/auth-context": Entry(ANYONE),
    "POST /v1/merchants": Entry(PLATFORM, body={"name": "Rain & Shine"}),
    "GET /v1/merchants": Entry(PLATFORM),
    "GET /v1/merchants/{merchant_id}": Entry(PLATFORM, merchant),
    "PATCH /v1/merchants/{merchant_id}": Entry(PLATFORM, merchant, {"name": "Snow"}),
    "POST /v1/api-keys": Entry("keys.write", body={"name": "Key", "scopes": ["orders.read"]}, platform=True),
    "GET /v1/api-keys": Entry("keys.write", api_key, lists="api_key_id", platform=True),
    "GET /v1/api-keys/{api_key_id}": Entry("keys.write", api_key, platform=True),
    "POST /v1/api-keys/{api_key_id}/rotate": Entry("keys.write", api_key, {}, platform=True),
    "POST /v1/api-keys/{api_key_id}/revoke": Entry("keys.write", api_key, platform=True),
    "GET /v1/audit-log": Entry("keys.write", api_key, lists="api_key_id", platform=True),
    f"POST {_APPS}": Entry("apps.write", body=APP),
    f"GET {_APPS}": Entry("apps.read", partner_app, lists="partner_app_id"),
    f"GET {_APPS}/{{partner_app_id}}": Entry("apps.read", partner_app),
    f"PATCH {_APPS}/{{partner_app_id}}": Entry("apps.write", partner_app, {"name": "Lists"}),
    f"DELETE {_APPS}/{{partner_app_id}}": Entry("apps.write", partner_app),
    f"POST {_APPS}/{{partner_app_id}}/rotate-secret": Entry("apps.write", partner_app, {}),
    f"GET {_APPS}/{{partner_app_id}}/installs": Entry("apps.read", install, lists="install_id"),
    f"GET {_APPS}/{{partner_app_id}}/installs/{{install_id}}": Entry("apps.read", install),
    f"POST {_APPS}/{{partner_app_id}}/installs/{{install_id}}/revoke": Entry("apps.write", install),
    f"POST {_APPS}/{{partner_app_id}}/grants/{{grant_id}}/revoke": Entry("apps.write", install),
    "POST /v1/staff-users": Entry("keys.write", body=PERSON, platform=True, live_only=True),
    "POST /v1/staff-users/reset-password": Entry(PLATFORM, somebody),
    "GET /v1/staff-users": Entry("keys.write", staff_user, lists="staff_user_id", both_environments=True),
    "DELETE /v1/staff-users/{staff_user_id}": Entry("keys.write", staff_user, live_only=True),
}

OPEN = {
    "GET /.well-known/jwks.json": "the public halves of the signing keys",
    "GET /.well-known/oauth-authorization-server": "how to talk to the authorization server",
    "GET /v1/oauth/authorize/preview": "says of an app what anybody sees who is asked to install it",
    "POST /v1/oauth/token": "the app authenticates with its client secret",
    "POST /v1/oauth/revoke": "the app authenticates with its client secret",
    "POST /v1/oauth/introspect": "the app authenticates with its client secret",
}

_SESSION = "a page for people, who sign in there; forms carry a token of their session's"
_PROVIDER = "a page for people who sign in at the company's provider; tied to the browser by a secret in its cookie"
_REFERENCE = "describes the API"
_PROBE = "for whoever runs the service, who does not let the outside reach it"

PAGES = {
    "GET /v1/oauth/authorize": _SESSION,
    "POST /v1/oauth/authorize": _SESSION,
    "GET /sign-in": _SESSION,
    "POST /sign-in": _SESSION,
    "POST /sign-out": _SESSION,
    "GET /sign-in/oidc": _PROVIDER,
    "GET /sign-in/oidc/callback": _PROVIDER,
    "POST /sign-in/oidc/connect": _PROVIDER,
    "GET /join": _SESSION,
    "POST /join": _SESSION,
    "GET /account": _SESSION,
    "GET /account/password": _SESSION,
    "POST /account/password": _SESSION,
    "POST /account/grants/{grant_id}/revoke": _SESSION,
    "GET /docs": _REFERENCE,
    "GET /docs-assets/{name}": _REFERENCE,
    "GET /openapi.json": _REFERENCE,
    "GET /problems": _REFERENCE,
    "GET /problems/{slug}": _REFERENCE,
    "GET /livez": _PROBE,
    "GET /readyz": _PROBE,
    "GET /metrics": _PROBE,
}
