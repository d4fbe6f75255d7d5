"""One service in one process, as it is deployed: `python -m bench.process orders --port 9000 --role worker`."""

import argparse

import uvicorn

from deploy.prepare import SERVICES
from deploy.services import create_service
from shared.settings import Settings


def main() -> None:
    """Serve until asked to stop; everything else comes from the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--role", choices=("api", "worker", "all"), default="worker")
    options = parser.parse_args()
    app = create_service(options.service, Settings(log_level="warning"), options.role)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False, lifespan="on")


if __name__ == "__main__":
    main()
