"""The parts of the service that let apps and people in, put together for `app.py`."""

from services.apps.http.authorize import AuthorizationController
from services.apps.http.install_wiring import InstallWiring
from services.apps.http.installs import InstallController
from services.apps.http.oauth import OAuthController, WellKnownController
from services.apps.http.pages import AccountController, JoinController, SignInController
from services.apps.http.partner_apps import PartnerAppController
from services.apps.http.staff_users import StaffUserController
from services.apps.installing import Act
from services.apps.oauth import OAuth
from services.apps.signing_keys import TokenSigner
from services.apps.staff import Staff
from shared.contracts.model import Actor
from shared.sealing import Sealer
from shared.service import ServiceProcess

INSTALL_CONTROLLERS = [
    PartnerAppController,
    InstallController,
    AuthorizationController,
    OAuthController,
    WellKnownController,
    SignInController,
    JoinController,
    AccountController,
    StaffUserController,
]

_KEEP_KEYS_EVERY_S = 60.0
_TIDY_EVERY_S = 300.0


def install_parts(process: ServiceProcess) -> InstallWiring:
    """What the controllers need; the process keeps keys and forgets what is over."""
    base_url, pool, clock = process.settings.public_base_url, process.pool, process.clock
    signer = TokenSigner(pool, Sealer(process.settings.sealing_key), clock, process.wake)
    oauth = OAuth(pool, signer, process.grants, base_url, process.wake)
    staff = Staff(pool, clock)

    async def tidy() -> None:
        await oauth.tidy(Act(Actor(type="system", id="apps"), clock()))
        await staff.tidy()

    process.every(_KEEP_KEYS_EVERY_S, "jobs.keep_signing_keys", signer.keep)
    process.every(_TIDY_EVERY_S, "jobs.tidy_access", tidy)
    return InstallWiring(
        pool, clock, process.wake, base_url, oauth, signer, process.grants.access_tokens(base_url), staff
    )
