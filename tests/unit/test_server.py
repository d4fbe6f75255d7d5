"""The HTTP server says what stands in its way, and nothing else."""

import socket
from typing import Any

import pytest

from deploy.local.ports import HOST
from deploy.local.problem import RuntimeProblem
from deploy.server import run_server


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def test_a_port_that_is_taken_is_a_problem_and_no_lost_exception(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(RuntimeProblem, match="did not start"):
        run_server(app, HOST, taken.getsockname()[1])
    [said] = caplog.messages
    assert "address already in use" in said
