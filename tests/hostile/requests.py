"""Generated HTTP requests to every service with every kind of key, in client processes of their own."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import httpx

from deploy.local.datadir import REPOSITORY
from tests.hostile.client import Result, Task
from tests.hostile.system import Key, System, admit, new_key

Progress = Callable[[str, float], None]
"""Told how many requests have been `answered` by now."""

_SHARES = {"full": 0.5, "reader": 0.12, "other": 0.12, "live": 0.1, "revoked": 0.08, "none": 0.08}
_OF_PLATFORM = 0.3
_OF_SERVICE = {"orders": 0.5, "payments": 0.3, "apps": 0.2}
_LINE_BYTES = 4 * 1024 * 1024
_PATIENCE_S = 60


async def send_requests(system: System, count: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What was answered, and what is wrong with it."""
    keys = _keys(await _merchant(system), await _merchant(system))
    await admit(system, [key for key in keys.values() if key is not None])
    order_id = await _victim(system, keys["owner"])
    done: Counter[str] = Counter()

    def task(service: str, role: str, share: float, number: int) -> Task:
        key = keys.get(role)
        return Task(
            url=system.url(service),
            role=role,
            secret=key.secret if key else system.platform_key if role == "platform" else None,
            seed=seed * 1_000 + number * 100,
            requests=max(1, round(count * _OF_SERVICE[service] * share)),
            order_id=order_id if role in ("other", "live") and service == "orders" else None,
        )

    async def client(service: str) -> dict[str, Result]:
        shares = _SHARES | ({"platform": _OF_PLATFORM} if service == "apps" else {})
        tasks = [task(service, role, share, number) for number, (role, share) in enumerate(shares.items())]

        def answered(by_now: int) -> None:
            done[service] = by_now
            progress("answered", done.total())

        results = await _client(tasks, answered)
        return {f"{service} as {role}": result for role, result in results.items()}

    began = time.monotonic()
    by_service = await asyncio.gather(*map(client, _OF_SERVICE))
    took_s = time.monotonic() - began
    results = {who: result for of_service in by_service for who, result in of_service.items()}
    found = _summed(results) | {"took_s": round(took_s, 1)}
    found["per_s"] = round(found["requests"] / took_s)
    if (version := await _version(system, keys["owner"], order_id)) != 1:
        found["failures"].append({"what": f"strangers brought {order_id} to version {version}"})
    return found


async def _merchant(system: System) -> str:
    """A merchant that the apps service knows."""
    headers = {"Authorization": f"Bearer {system.platform_key}"}
    async with httpx.AsyncClient(base_url=system.url("apps"), headers=headers) as client:
        async with asyncio.timeout(_PATIENCE_S):
            while (answer := await client.post("/v1/merchants", json={"name": "Tea"})).status_code == 401:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    return str(answer.raise_for_status().json()["data"]["merchant_id"])


def _keys(merchant_id: str, victim_id: str) -> dict[str, Key | None]:
    """By role; nobody sends anything as the owner of the order that strangers must not touch."""
    full = new_key(merchant_id)
    reading = [scope for scope in full.scopes if scope.endswith(".read")]
    return {
        "reader": new_key(full.merchant_id, scopes=reading),
        "other": new_key(),
        "live": new_key(victim_id, environment="live"),
        "owner": new_key(victim_id),
        "revoked": new_key(full.merchant_id, revoked=True),
        "none": None,
        "full": full,
    }


async def _victim(system: System, key: Key | None) -> str:
    """An order that only its merchant may see or change."""
    assert key is not None
    body = {"currency": "EUR", "line_items": [{"name": "Tea", "unit_price_money": {"amount": 500, "currency": "EUR"}}]}
    headers = {"Authorization": f"Bearer {key.secret}"}
    async with httpx.AsyncClient(base_url=system.url("orders"), headers=headers) as client:
        answer = await client.post("/v1/orders", json=body)
    return str(answer.raise_for_status().json()["data"]["order_id"])


async def _version(system: System, key: Key | None, order_id: str) -> int:
    assert key is not None
    headers = {"Authorization": f"Bearer {key.secret}"}
    async with httpx.AsyncClient(base_url=system.url("orders"), headers=headers) as client:
        answer = await client.get(f"/v1/orders/{order_id}")
    return int(answer.raise_for_status().json()["data"]["version"])


async def _client(tasks: Sequence[Task], answered: Callable[[int], None]) -> dict[str, Result]:
    """One process that does all these tasks in turn: results by role."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.hostile.client",
        *(json.dumps(asdict(task)) for task in tasks),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    assert process.stdout is not None
    results: dict[str, Result] = {}
    try:
        async for line in process.stdout:
            told = json.loads(line)
            if "result" in told:
                results[told["role"]] = Result(**told["result"])
            done = sum(result.requests for result in results.values())
            answered(done + told.get("requests", 0))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    missing = {task.role for task in tasks} - results.keys()
    return results | {role: Result(errors=[f"the client ended with {process.returncode}"]) for role in missing}


def _summed(results: dict[str, Result]) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    for result in results.values():
        statuses.update(result.statuses)
    failures = [
        {"who": who, "check": name, **told} for who, result in results.items() for name, told in result.failures.items()
    ]
    failures += [{"who": who, "what": error} for who, result in results.items() for error in result.errors]
    return {
        "requests": sum(statuses.values()),
        "by_client": {who: result.requests for who, result in results.items()},
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(count for status, count in statuses.items() if status.startswith("5")),
        "unanswered": statuses["none"],
        "failures": failures,
    }
