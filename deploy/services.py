"""How a service is found and made: by its name, from its `app` module."""

import gc
from importlib import import_module
from typing import TYPE_CHECKING

from litestar import Litestar

from shared import telemetry
from shared.http.app import openapi_of
from shared.http.reference import reference_app
from shared.settings import Role, Settings

if TYPE_CHECKING:
    from deploy.gateway import Gateway


def create_service(name: str, settings: Settings, role: Role) -> Litestar:
    """One service in one role; nothing is connected before its lifespan begins."""
    # Before the service is made, whose parts take their loggers with them.
    telemetry.setup(name, settings)
    app: Litestar = import_module(f"services.{name}.app").create_app(settings, role)
    _collect_garbage_rarely()
    return app


def create_gateway(settings: Settings) -> "Gateway":
    """All services whole, behind one port, with one reference for the API of all."""
    # Imported only where there is one: a service of its own starts a fifth sooner without.
    from deploy.gateway import Gateway
    from deploy.prepare import SERVICES

    services = {name: create_service(name, settings, "all") for name in SERVICES}
    base_url = settings.public_base_url
    reference = reference_app(lambda: [openapi_of(app) for app in services.values()], base_url)
    return Gateway(services, reference, base_url)


def _collect_garbage_rarely() -> None:
    """What a batch allocates is freed by reference counting; looking for cycles after every 700 objects, as Python does
    by default, took a fifth of the write path's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
