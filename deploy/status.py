"""What runs, where, and with which credentials: for people, for `--json`, and for the demo."""

from typing import Any

import httpx2
from rich.table import Table

from deploy.installation import Installation
from deploy.local.datadir import default_data_dir, holder
from deploy.local.problem import RuntimeProblem

_TIMEOUT_S = 5.0


def status() -> dict[str, Any]:
    """The running installation; raises a `RuntimeProblem` when there is none, or none yet."""
    installation = Installation(default_data_dir())
    where = installation.where()
    if where is None:
        if holder(installation.data_dir) is not None:
            raise RuntimeProblem("Throughline is starting and not ready yet. Try again in a few seconds.")
        raise RuntimeProblem("Throughline is not running. Start it with: make up")
    state = installation.load_state()
    return {
        "base_url": where["base_url"],
        "api_key": state["api_key"],
        "platform_key": state["platform_key"],
        "kafka": where["kafka"],
        "channel": state["channel"],
        "staff": state["staff"],
        "services": _services(where["base_url"]),
    }


def value_at(status: dict[str, Any], path: str) -> str:
    """One value, such as `api_key` or `staff.password`; raises a `RuntimeProblem` where there is none."""
    found: Any = status
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise RuntimeProblem(f"The status has no {path}. Its names are those of: throughline status --json")
    return found


def status_table(status: dict[str, Any]) -> Table:
    """The same, for reading."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    # Cut off, a key or a password would be of no use.
    table.add_column(overflow="fold")
    for name, value in _lines(status):
        table.add_row(f"[bold]{name}[/bold]", value)
    return table


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    channel, kafka, staff = status["channel"], status["kafka"], status["staff"]
    services = ", ".join(f"{s['name']} {_word(s)}" for s in status["services"])
    return [
        ("API", status["base_url"]),
        ("API reference", f"{status['base_url']}/docs"),
        ("API key", status["api_key"]),
        ("Kafka", f"{kafka['bootstrap_servers']} ({kafka['security_protocol']}, {kafka['sasl_mechanism']})"),
        ("Channel", f"{channel['channel_id']}, writes to {channel['topic']}"),
        ("  user name", channel["username"]),
        ("  password", channel["password"]),
        ("Sign in", f"{status['base_url']}/account"),
        ("  e-mail", staff["email"]),
        ("  password", staff["password"]),
        ("Services", services),
    ]


def _word(service: dict[str, Any]) -> str:
    if service["ready"]:
        return "[green]ready[/green]"
    return "[yellow]not ready[/yellow]" if service["live"] else "[red]not alive[/red]"


def _services(base_url: str) -> list[dict[str, Any]]:
    live, ready = _probe(base_url, "/livez"), _probe(base_url, "/readyz")
    return [
        {
            "name": name,
            "role": "all",
            "live": _well(live.get(name)),
            "ready": _well(ready.get(name)),
            "checks": {**_checks(live.get(name)), **_checks(ready.get(name))},
        }
        for name in sorted({*live, *ready})
    ]


def _probe(base_url: str, path: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = httpx2.get(base_url + path, timeout=_TIMEOUT_S).json()
    except httpx2.HTTPError as error:
        raise RuntimeProblem(
            f"Throughline runs, but {base_url}{path} does not answer ({type(error).__name__}). "
            "Look at the terminal in which it runs."
        ) from error
    services: dict[str, Any] = answer["services"]
    return services


def _well(answer: dict[str, Any] | None) -> bool:
    return answer is not None and answer.get("status") == "ok"


def _checks(answer: dict[str, Any] | None) -> dict[str, Any]:
    return dict((answer or {}).get("checks", {}))
