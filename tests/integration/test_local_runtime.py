"""The local runtime in all the ways it is really used: killed, started twice, in somebody's way, stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.datadir import REPOSITORY, DataDirLock, default_cache_dir, holder, servers_of
from deploy.local.ports import HOST, Ports
from deploy.local.problem import RuntimeProblem
from deploy.local.runtime import LocalServers

pytestmark = pytest.mark.servers

# Starts the servers, says so, and then waits to be stopped or killed.
HOLD = """
import signal, sys, time
from pathlib import Path
from deploy.local.runtime import LocalServers
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
with LocalServers(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "täst, with spaces"
    yield directory
    assert servers_of(directory) == []


def hold(data_dir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def wait_until_gone(data_dir: Path, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while servers_of(data_dir):
        assert time.monotonic() < deadline, f"still running: {servers_of(data_dir)}"
        time.sleep(0.05)


def wait_for_problem(servers: LocalServers) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        servers.require_alive()
        time.sleep(0.01)


async def test_data_outlives_a_stop_and_nothing_is_left_running(data_dir: Path) -> None:
    with LocalServers(data_dir) as servers:
        connection = await asyncpg.connect(servers.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        await connection.close()
        pids = {process.pid for process in servers_of(data_dir)}
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert holder(data_dir) is None

    with LocalServers(data_dir) as servers:
        connection = await asyncpg.connect(servers.database_url)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        assert str(await connection.fetchval("SHOW server_version")).startswith("18")
        await connection.close()


def test_both_listeners_are_reachable_and_nothing_listens_beyond_the_loopback(data_dir: Path) -> None:
    with LocalServers(data_dir) as servers:
        assert AdminClient({"bootstrap.servers": servers.kafka_bootstrap_servers}).list_topics(timeout=10).brokers
        host, port = servers.kafka_client_bootstrap_servers.split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        listening = {
            connection.laddr.ip
            for process in servers_of(data_dir)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert {address.removeprefix("::ffff:") for address in listening} == {HOST}


@pytest.mark.parametrize("name", ["postgres", "kafka", "kafka_client", "kafka_controller"])
def test_a_port_in_use_is_named_with_the_variable_that_changes_it(data_dir: Path, name: str) -> None:
    ports = Ports.free()
    with socket.create_server((HOST, 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(RuntimeProblem) as problem:
            LocalServers(data_dir, replace(ports, **{name: number})).start()
    assert f"Port {number} " in str(problem.value)
    assert f"THROUGHLINE_{name.upper()}_PORT" in str(problem.value)
    assert holder(data_dir) is None


@pytest.mark.parametrize(("victim", "called"), [("postgres", "PostgreSQL"), ("java", "Kafka")])
def test_a_server_that_died_is_told_with_its_log(data_dir: Path, victim: str, called: str) -> None:
    with LocalServers(data_dir) as servers:
        servers.require_alive()
        [process] = [found for found in servers_of(data_dir) if found.name() == victim]
        process.kill()
        with pytest.raises(RuntimeProblem, match=f"{called} stopped by itself \\(signal SIGKILL\\)") as problem:
            wait_for_problem(servers)
        assert str(data_dir / ("postgres.log" if victim == "postgres" else "kafka.log")) in str(problem.value)


def test_a_server_that_can_not_start_is_told_with_its_log_and_the_other_is_stopped(data_dir: Path) -> None:
    with LocalServers(data_dir):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(RuntimeProblem, match="PostgreSQL stopped by itself") as problem:
        LocalServers(data_dir).start()
    assert "is not compatible with this version" in str(problem.value)


def test_a_second_start_says_who_runs_and_how_to_stop_it(data_dir: Path) -> None:
    with LocalServers(data_dir):
        with pytest.raises(RuntimeProblem, match=f"already running \\(process {os.getpid()}") as problem:
            LocalServers(data_dir).start()
        assert f"kill {os.getpid()}" in str(problem.value)
        assert len(servers_of(data_dir)) == 2


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(data_dir: Path, how: signal.Signals) -> None:
    process = hold(data_dir)
    process.send_signal(how)
    process.wait(30)
    assert servers_of(data_dir) == []


def test_a_killed_parent_leaves_nothing_that_blocks_the_next_start(data_dir: Path) -> None:
    process = hold(data_dir)
    process.kill()
    process.wait(10)
    # At once, while the servers that it left may still be on their way out.
    with LocalServers(data_dir) as servers:
        servers.require_alive()
        assert len(servers_of(data_dir)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_the_servers_of_a_killed_parent_end_by_themselves(data_dir: Path) -> None:
    process = hold(data_dir)
    process.kill()
    process.wait(10)
    wait_until_gone(data_dir)


def test_files_of_a_crash_do_not_block_the_next_start(data_dir: Path) -> None:
    with LocalServers(data_dir):
        for process in servers_of(data_dir):
            process.kill()
    # The pid in it now belongs to a living process, which is not PostgreSQL.
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{data_dir / 'postgres'}\n1\n1\n\n\n\n\n")
    (data_dir / "lock").write_text('{"pid": 1}')
    with LocalServers(data_dir) as servers:
        servers.require_alive()


def test_an_interrupted_first_start_is_begun_anew(data_dir: Path) -> None:
    (data_dir / "postgres.unfinished").mkdir(parents=True)
    (data_dir / "postgres.unfinished" / "PG_VERSION").write_text("18\n")
    with LocalServers(data_dir) as servers:
        servers.require_alive()


def test_an_unusable_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeProblem, match="can't be written") as problem:
        LocalServers(tmp_path / "file" / "data").start()
    assert "THROUGHLINE_DATA_DIR" in str(problem.value)


def test_a_nearly_full_disk_is_told(small_disk: Path) -> None:
    with pytest.raises(RuntimeProblem, match="MB left; PostgreSQL and Kafka need 1 GB"):
        LocalServers(small_disk).start()


def test_a_lock_is_free_as_soon_as_its_holder_is_gone(tmp_path: Path) -> None:
    first, second = DataDirLock(tmp_path), DataDirLock(tmp_path)
    first.acquire()
    with pytest.raises(RuntimeProblem, match="already running"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_nothing_is_downloaded_when_the_cache_is_full(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jars = {jar: jar.stat().st_mtime_ns for jar in default_cache_dir().rglob("*.jar")}
    with LocalServers(data_dir):
        pass
    assert {jar: jar.stat().st_mtime_ns for jar in default_cache_dir().rglob("*.jar")} == jars
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(tmp_path)], check=False)
    if mount.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)
