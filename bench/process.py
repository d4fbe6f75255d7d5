"""One service in one process, as it is deployed: `python -m bench.process orders --port 9000 --role worker`.

`payments` has the sandbox in the same process where its secret is set; `together` is all services in one.
"""

import argparse
from typing import Any

import uvicorn

from deploy.prepare import SERVICES
from deploy.services import create_gateway, create_service
from shared.outside import Outside
from shared.settings import Role, Settings

TOGETHER = "together"


def main() -> None:
    """Serve until asked to stop; everything else comes from the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=(*SERVICES, TOGETHER))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--role", choices=("api", "worker", "all"), default="worker")
    options = parser.parse_args()
    app = _app(options.service, Settings(log_level="warning"), options.role)
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "on"}
    # A client's connection rests while another service is asked, for long where the machine is busy.
    uvicorn.run(app, host="127.0.0.1", port=options.port, timeout_keep_alive=60, **quiet)


def _app(service: str, settings: Settings, role: Role) -> Any:
    if service == TOGETHER:
        return create_gateway(settings)
    if service != "payments" or not settings.sandbox.secret.get_secret_value():
        return create_service(service, settings, role)
    # As in `deploy.services`: a service of its own does without.
    from deploy.gateway import Gateway
    from services.sandbox.app import SandboxProcess

    sandbox = SandboxProcess(settings)
    asked = sandbox.app()
    payments = create_service(service, settings, role, Outside(acquirer=sandbox.acquirer))
    return Gateway({"sandbox": asked, "payments": payments}, asked, settings.public_base_url)


if __name__ == "__main__":
    main()
