"""Generated HTTP requests to every service with every kind of key, in client processes of their own."""

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2

from deploy.local.datadir import REPOSITORY
from tests.hostile.client import Result, Task
from tests.hostile.system import Key, System, admit, new_key

Progress = Callable[[str, float], None]
"""Told how many requests have been `answered` by now."""

_SHARES = {"full": 0.5, "reader": 0.12, "other": 0.12, "live": 0.1, "revoked": 0.08, "none": 0.08}
_OF_PLATFORM = 0.06
_OF_SERVICE = {"orders": 0.5, "payments": 0.3, "apps": 0.2}
_AT_ONCE = (os.cpu_count() or 1) + 1
"""Clients: while one waits for its answer, another one computes."""
_PART = 5_000
"""Requests in a task, so that no client has work left when the others have none."""
_LINE_BYTES = 4 * 1024 * 1024
_PATIENCE_S = 60


async def send_requests(system: System, count: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What was answered, and what is wrong with it."""
    keys = _keys(await _merchant(system), await _merchant(system))
    await admit(system, [key for key in keys.values() if key is not None])
    order_id = await _victim(system, keys["owner"])
    clients = _Clients(_tasks(system, keys, order_id, count, seed), progress)
    began, busy = time.monotonic(), _cpu_s(system)
    await asyncio.gather(*map(clients.work, range(_AT_ONCE)))
    took_s = time.monotonic() - began
    found = _summed(clients.by_name()) | {"took_s": round(took_s, 1)}
    found["per_s"] = round(found["requests"] / took_s)
    found["cpu_s"] = {who: round(by_now - busy[who]) for who, by_now in _cpu_s(system).items()}
    changes = await _changes(system, keys["owner"], order_id)
    if len(changes) != 1:
        found["failures"].append({"what": f"strangers changed {order_id}", "changes": changes})
    return found


def _cpu_s(system: System) -> dict[str, float]:
    """How long the services have been computing, and the clients that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return system.cpu_s() | {"clients": ended.ru_utime + ended.ru_stime}


def _tasks(system: System, keys: dict[str, Key | None], order_id: str, count: int, seed: int) -> list[Task]:
    """For every role at every service, the longest first."""
    tasks: list[Task] = []
    for service, role, share in _shares():
        total = max(1, round(count * share))
        key = keys.get(role)
        tasks += [
            Task(
                url=system.url(service),
                who=f"{service} as {role}",
                role=role,
                secret=key.secret if key else system.platform_key if role == "platform" else None,
                seed=(seed * 1_000 + len(tasks) + part) * 1_000,
                requests=min(total - sent, _PART),
                coverage=part == 0 and total >= _PART,
                order_id=order_id if role in ("other", "live") and service == "orders" else None,
            )
            for part, sent in enumerate(range(0, total, _PART))
        ]
    return sorted(tasks, key=lambda task: -task.requests)


def _shares() -> Iterator[tuple[str, str, float]]:
    for service, of_service in _OF_SERVICE.items():
        for role, share in _SHARES.items():
            yield service, role, of_service * share
    yield "apps", "platform", _OF_PLATFORM


@dataclass
class _Clients:
    """Processes that share the tasks out among them."""

    waiting: list[Task]
    progress: Progress
    results: list[tuple[str, Result]] = field(default_factory=list)
    under_way: dict[int, int] = field(default_factory=dict)
    """By client: how many requests of its task were answered."""

    async def work(self, number: int) -> None:
        """One client, until nothing waits or its process has ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.hostile.client"),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        try:
            while self.waiting and process.returncode is None:
                task = self.waiting.pop(0)
                self.results.append((task.who, await self._result(process, task, number)))
                self.under_way[number] = 0
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def _result(self, process: asyncio.subprocess.Process, task: Task, number: int) -> Result:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        async for line in process.stdout:
            told = json.loads(line)
            if "result" in told:
                return Result(**told["result"])
            self.under_way[number] = told["requests"]
            done = sum(result.requests for _, result in self.results)
            self.progress("answered", done + sum(self.under_way.values()))
        return Result(errors=[f"the client ended with {await process.wait()}"])

    def by_name(self) -> dict[str, Result]:
        """What all parts of the same role at the same service found."""
        found: dict[str, Result] = {task.who: Result(errors=["nobody was left to ask"]) for task in self.waiting}
        for who, result in self.results:
            found.setdefault(who, Result()).add(result)
        return found


async def _merchant(system: System) -> str:
    """A merchant that the apps service knows."""
    headers = {"Authorization": f"Bearer {system.platform_key}"}
    async with httpx2.AsyncClient(base_url=system.url("apps"), headers=headers) as client:
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
    async with httpx2.AsyncClient(base_url=system.url("orders"), headers=headers) as client:
        answer = await client.post("/v1/orders", json=body)
    return str(answer.raise_for_status().json()["data"]["order_id"])


async def _changes(system: System, key: Key | None, order_id: str) -> list[Any]:
    """What happened to the order, and who did it."""
    assert key is not None
    headers = {"Authorization": f"Bearer {key.secret}"}
    async with httpx2.AsyncClient(base_url=system.url("orders"), headers=headers) as client:
        answer = await client.get(f"/v1/orders/{order_id}/activities")
    found: list[Any] = answer.raise_for_status().json()["data"]
    return found


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
