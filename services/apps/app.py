"""The composition root of the apps service: the only place that builds its parts."""

from litestar import Litestar

from services.apps.http.auth_context import AuthContextController
from services.apps.http.wiring import Wiring
from shared.outside import REAL, Outside
from shared.service import ServiceProcess
from shared.settings import Role, Settings

SERVICE = "apps"


def create_process(settings: Settings, role: Role, outside: Outside = REAL) -> ServiceProcess:
    """One process of the apps service; it connects when the app's lifespan begins."""
    process = ServiceProcess(SERVICE, settings, role, outside)
    wiring = Wiring(process.pool, process.clock, process.wake)
    process.serve([AuthContextController], apps=wiring)
    return process


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
