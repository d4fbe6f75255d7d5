"""The composition root of the apps service: the only place that builds its parts."""

from litestar import Litestar

from services.apps.consumers import UseConsumer
from services.apps.http.api_keys import ApiKeyController
from services.apps.http.audit_log import AuditLogController
from services.apps.http.auth_context import AuthContextController
from services.apps.http.merchants import MerchantController
from services.apps.http.wiring import Wiring
from services.apps.keys import AdmitPlatformKey
from services.apps.install_parts import INSTALL_CONTROLLERS, install_parts
from shared.outside import REAL, Outside
from shared.service import ServiceProcess
from shared.settings import Role, Settings
from shared.topics import ACCESS_USED

SERVICE = "apps"


def create_process(settings: Settings, role: Role, outside: Outside = REAL) -> ServiceProcess:
    """One process of the apps service; it connects when the app's lifespan begins."""
    process = ServiceProcess(SERVICE, settings, role, outside)
    pool, clock, wake = process.pool, process.clock, process.wake
    process.consume("uses", UseConsumer(pool), topics=[ACCESS_USED])
    if settings.platform_key_hash is not None:
        process.at_start("jobs.admit_platform_key", AdmitPlatformKey(pool, clock, wake, settings.platform_key_hash))
    wiring = Wiring(pool, clock, wake)
    installing = install_parts(process)
    controllers = [MerchantController, ApiKeyController, AuthContextController, AuditLogController]
    process.serve([*controllers, *INSTALL_CONTROLLERS], apps=wiring, installing=installing)
    return process


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
