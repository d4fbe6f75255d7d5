"""The command `throughline`. A problem of this machine is told in a sentence; any traceback is our mistake."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from deploy.installation import Installation
from deploy.local.datadir import REPOSITORY, DataDirLock, default_cache_dir, default_data_dir, delete_data
from deploy.local.problem import RuntimeProblem

app = typer.Typer(help="Order-first omnichannel commerce.", no_args_is_help=True, pretty_exceptions_enable=False)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Port of the HTTP API; also THROUGHLINE_PORT. 8080 by default.")
]


class Service(StrEnum):
    """The services that can run on their own."""

    ORDERS = "orders"
    PAYMENTS = "payments"
    APPS = "apps"
    SANDBOX = "sandbox"


class Role(StrEnum):
    """What a process does of a service's work: answer requests, process messages, or both."""

    API = "api"
    WORKER = "worker"
    ALL = "all"


@app.command()
def up(host: Host = "127.0.0.1", port: Port = None) -> None:
    """Start everything on this machine, with a demo merchant; Ctrl-C stops it."""
    from deploy.up import run_everything

    with _problems_in_a_sentence():
        run_everything(host, port)


@app.command()
def demo(
    story: Annotated[list[str] | None, typer.Option(help="Only this one; may be given more than once.")] = None,
    stories: Annotated[bool, typer.Option("--list", help="Say which stories there are.")] = False,
) -> None:
    """Tell how orders are paid, as stories that check themselves; starts everything for it where nothing runs."""
    with _problems_in_a_sentence():
        if stories:
            _list_stories()
        else:
            _tell(lambda: _run_demo(story or []))


@app.command()
def demo_plugin() -> None:
    """Install the example plugin, tell it of paid orders, take it out; starts everything where nothing runs."""
    with _problems_in_a_sentence():
        _tell(_run_demo_plugin)


@app.command()
def serve(service: Service, role: Role = Role.ALL, host: Host = "127.0.0.1", port: Port = None) -> None:
    """Run one service against the servers that DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS name."""
    from deploy.local.ports import api_port
    from deploy.server import run_server
    from deploy.services import create_service
    from shared.settings import Settings

    with _problems_in_a_sentence():
        run_server(create_service(service.value, Settings(), role.value), host, api_port(port))


@app.command()
def migrate() -> None:
    """Bring every service's database schema, and the topics between the services, up to date."""
    from deploy.prepare import prepare_database, prepare_topics
    from shared.settings import Settings

    async def prepare() -> None:
        settings = Settings()
        # One after the other: the end would wait for a Kafka that is away before it told what is wrong with PostgreSQL.
        await prepare_database(settings)
        await prepare_topics(settings)

    with _problems_in_a_sentence():
        asyncio.run(prepare())


@app.command()
def platform_key() -> None:
    """Make a platform key, and the PLATFORM_KEY_HASH by which an installation admits it."""
    from shared.auth.keys import hash_credential, new_api_key

    key = new_api_key("live")
    print(f"{key}\nPLATFORM_KEY_HASH={hash_credential(key)}")


@app.command()
def announce_grants(
    merchant: Annotated[str | None, typer.Option(help="Only those of this merchant.")] = None,
) -> None:
    """Publish every grant again on access.grants: for a topic that was lost, or a Kafka cluster that is new."""
    from deploy.announce import announce_grants as announce
    from shared.settings import Settings

    with _problems_in_a_sentence():
        asyncio.run(announce(Settings(), merchant))


@app.command()
def reconcile(
    api_key: Annotated[str | None, typer.Option(help="Of another merchant's test environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare the sandbox's ledger with a merchant's orders; the exit code is 1 where they differ."""
    from deploy.reconcile.run import run

    with _problems_in_a_sentence():
        report = run(api_key)
        if as_json:
            print(json.dumps(report.for_programs(), indent=2))
        else:
            report.tell(Console(highlight=False, soft_wrap=True))
        if report.differences:
            sys.exit(1)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Only this value, such as api_key or staff.password.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what runs, where, and with which credentials; exit code 1 when nothing does."""
    from deploy.status import status as find_status
    from deploy.status import status_table, value_at

    with _problems_in_a_sentence():
        found = find_status()
        if name is not None:
            print(value_at(found, name))
        elif as_json:
            print(json.dumps(found, indent=2))
        else:
            Console(highlight=False).print(status_table(found))


@app.command()
def reset() -> None:
    """Delete the local databases, topics and credentials; downloads stay, and whatever is not ours."""
    with _problems_in_a_sentence():
        data_dir = default_data_dir()
        lock = DataDirLock(data_dir)
        lock.acquire()
        delete_data(data_dir, default_cache_dir())
        lock.release()
        Console(stderr=True).print(f"Deleted the local data in {data_dir}.")


def _tell(story: Callable[[], None]) -> None:
    """Against the running installation, or one that runs for as long as the story does."""
    if Installation(default_data_dir()).where() is not None:
        story()
        return

    from deploy.server import Finished
    from deploy.up import run_everything

    # What a story causes on purpose is told there, not logged in between.
    os.environ.setdefault("LOG_LEVEL", "error")

    async def tell_and_stop() -> None:
        await asyncio.to_thread(story)
        raise Finished

    run_everything("127.0.0.1", None, tell_and_stop)


def _list_stories() -> None:
    from deploy.demo import STORIES

    for name, story in STORIES.items():
        print(f"{name:12}{(story.__doc__ or '').splitlines()[0]}")


def _run_demo(stories: list[str]) -> None:
    from deploy.demo import run
    from deploy.status import status as find_status

    run(find_status(), Installation(default_data_dir()).load_state()["observer"], stories)


def _run_demo_plugin() -> None:
    """In a process of its own, which is told no more than any developer knows."""
    from deploy.status import status as find_status

    found = find_status()
    told = {
        "THROUGHLINE_API": found["base_url"],
        "THROUGHLINE_KEY": found["api_key"],
        "THROUGHLINE_CHANNEL": found["channel"]["channel_id"],
        "STAFF_EMAIL": found["staff"]["email"],
        "STAFF_PASSWORD": found["staff"]["password"],
    }
    program = REPOSITORY / "examples" / "plugin" / "demo.py"
    if subprocess.run([sys.executable, program], env=os.environ | told, check=False).returncode:
        raise RuntimeProblem("The plugin's story did not go as it should: see above.")


@contextmanager
def _problems_in_a_sentence() -> Iterator[None]:
    signal.signal(signal.SIGTERM, _like_ctrl_c)
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped.")
        sys.exit(130)
    except Exception as error:
        from deploy.sentences import sentence_of

        if (sentence := sentence_of(error)) is None:
            raise
        Console(stderr=True, highlight=False).print(sentence, style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def _like_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
