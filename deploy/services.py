"""How a service is found and made: by its name, from its `app` module."""

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from litestar import Litestar

from shared import telemetry
from shared.http.app import openapi_of
from shared.http.reference import reference_app
from shared.outside import REAL, Outside
from shared.settings import Role, Settings

if TYPE_CHECKING:
    from deploy.gateway import Gateway


class Process(Protocol):
    """One process of one service, as its composition root makes it."""

    def app(self) -> Litestar:
        """The HTTP app, which runs the process for as long as its lifespan."""
        ...


def create_service(name: str, settings: Settings, role: Role, outside: Outside = REAL) -> Litestar:
    """One service in one role; nothing is connected before its lifespan begins."""
    # Before the service is made, whose parts take their loggers with them.
    telemetry.setup(name, settings)
    process: Process = import_module(f"services.{name}.app").create_process(settings, role, outside)
    _collect_garbage_rarely()
    return process.app()


def create_gateway(settings: Settings) -> "Gateway":
    """All services whole, behind one port, with one reference for the API of all; the sandbox is beside them."""
    # Imported only where there is one: a service of its own starts a fifth sooner without.
    from deploy.gateway import Gateway
    from deploy.prepare import SERVICES
    from services.sandbox.app import SandboxProcess

    telemetry.setup("sandbox", settings)
    sandbox = SandboxProcess(settings)
    outside = Outside(acquirer=sandbox.acquirer)
    services = {name: create_service(name, settings, "all", outside) for name in SERVICES}
    base_url = settings.public_base_url
    reference = reference_app(lambda: [openapi_of(app) for app in services.values()], base_url)
    # First, so that it is there before and after those who ask it.
    return Gateway({"sandbox": sandbox.app()} | services, reference, base_url)


def _collect_garbage_rarely() -> None:
    """What a batch allocates is freed by reference counting; looking for cycles after every 700 objects, as Python does
    by default, took a fifth of the write path's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
