"""The command line as a person uses it: sentences instead of tracebacks, and exit codes."""

import json
import os
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.installation import Installation
from deploy.local.datadir import REPOSITORY, DataDirLock
from deploy.local.ports import base_url
from deploy.local.problem import RuntimeProblem
from deploy.reconcile.sides import Sides
from shared.auth.keys import hash_credential, looks_like_key
from tests.servers import Servers

THROUGHLINE = REPOSITORY / ".venv" / "bin" / "throughline"


def run(data_dir: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"}}
    return subprocess.run(
        [THROUGHLINE, *arguments],
        env=own | {"THROUGHLINE_DATA_DIR": str(data_dir)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_told(result: subprocess.CompletedProcess[str], *words: str) -> None:
    told = " ".join(result.stderr.split())
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Traceback" not in told
    for word in words:
        assert word in told


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_status_of_nothing_is_a_sentence(tmp_path: Path, flags: list[str]) -> None:
    assert_told(run(tmp_path, "status", *flags), "Throughline is not running. Start it with: make up")


def test_status_while_it_starts_says_so(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock.acquire()
    assert_told(run(tmp_path, "status"), "is starting and not ready yet")
    lock.release()


def test_status_does_not_believe_what_a_killed_process_left(tmp_path: Path) -> None:
    Installation(tmp_path).announce({"base_url": "http://127.0.0.1:1", "kafka": {}})
    assert_told(run(tmp_path, "status"), "Throughline is not running")


def test_up_says_which_port_is_in_use_and_what_changes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_told(run(tmp_path, "up", THROUGHLINE_PORT=port), f"Port {port} (for the HTTP API)", "THROUGHLINE_PORT")
        assert_told(run(tmp_path, "up", "--port", port), f"Port {port} (for the HTTP API)")


def test_up_says_that_a_port_must_be_a_number(tmp_path: Path) -> None:
    assert_told(run(tmp_path, "up", THROUGHLINE_PORT="http"), "THROUGHLINE_PORT is 'http'")


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_port_that_cannot_be_is_refused(tmp_path: Path, port: str) -> None:
    result = run(tmp_path, "up", "--port", port)
    assert result.returncode == 2
    assert "Invalid value for '--port'" in result.stderr


def test_settings_that_cannot_be_are_told(tmp_path: Path) -> None:
    assert_told(run(tmp_path, "migrate", LOG_LEVEL="INFO"), "The environment's LOG_LEVEL cannot be used", "'info'")
    assert_told(
        run(tmp_path, "migrate", KAFKA_SECURITY_PROTOCOL="SASL_SSL"),
        "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed",
    )
    assert_told(run(tmp_path, "migrate", KAFKA_REPLICATION_FACTOR="9"), "KAFKA_REPLICATION_FACTOR cannot be used")
    assert_told(
        run(tmp_path, "serve", "apps", "--port", _free(), OIDC_ISSUER="https://example.com"),
        "OIDC_ISSUER needs OIDC_CLIENT_ID",
    )


def test_a_password_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    refusal = b'SFATAL\0C28P01\0Mpassword authentication failed for user "x"\0\0'

    def refuse(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"E" + (len(refusal) + 4).to_bytes(4, "big") + refusal)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=(server,), daemon=True).start()
        url = f"postgresql://x:y@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable"
        began = time.monotonic()
        result = run(tmp_path, "migrate", DATABASE_URL=url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert_told(result, 'DATABASE_URL names it (database: password authentication failed for user "x")')
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("away", ["PostgreSQL, as DATABASE_URL names it", "Kafka at 127.0.0.1:1"])
def test_servers_that_are_away_are_told(away: str, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.prepare._PATIENCE_S", 1)
    other = away.startswith("PostgreSQL")
    monkeypatch.setenv("DATABASE_URL", "postgresql://x@127.0.0.1:1/x" if other else servers.database_url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers.kafka_bootstrap_servers if other else "127.0.0.1:1")
    result = CliRunner().invoke(app, ["migrate"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"A server did not answer, or not as it should: {away}" in " ".join(result.stderr.split())


def test_reconcile_takes_no_empty_key_for_none(tmp_path: Path) -> None:
    assert_told(run(tmp_path, "reconcile", "--api-key", ""), "The API key is empty")


def test_reconcile_says_that_nobody_answers() -> None:
    nobody = "http://127.0.0.1:1"
    with pytest.raises(RuntimeProblem, match=r"^GET /v1/auth-context of "):
        Sides(nobody, "key", nobody, SecretStr("secret")).__enter__()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - not bound
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
        ("shop.test", "http://shop.test:80"),
    ],
)
def test_an_address_is_reached_by_its_url(host: str, url: str) -> None:
    assert base_url(host, 80) == url


def test_up_says_that_one_server_of_its_own_is_not_enough(tmp_path: Path) -> None:
    assert_told(
        run(tmp_path, "up", DATABASE_URL="postgresql://x", THROUGHLINE_PORT=_free()), "Only DATABASE_URL is set"
    )


def test_a_second_up_says_who_runs(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock.acquire()
    with socket.create_server(("127.0.0.1", 0)) as running:
        port = str(running.getsockname()[1])
        # Its port is in use too, which is not worth a word.
        assert_told(run(tmp_path, "up", "--port", port), f"Throughline is already running (process {os.getpid()}")
    lock.release()


def test_reset_deletes_what_is_ours_and_keeps_the_downloads(tmp_path: Path) -> None:
    cache = tmp_path / "kafka" / "downloads"
    for directory, mark in ((tmp_path / "postgres", "PG_VERSION"), (tmp_path / "kafka", "server.properties")):
        (directory / "data").mkdir(parents=True)
        (directory / mark).write_text("")
    cache.mkdir()
    (cache / "file").write_text("")
    for name in ("postgres.log", "kafka.log", "initdb.log"):
        (tmp_path / name).write_text("")
    Installation(tmp_path).save_state({"api_key": "x"})
    result = run(tmp_path, "reset", THROUGHLINE_CACHE_DIR=str(cache))
    assert result.returncode == 0
    assert files_in(tmp_path) == {"lock", "kafka/downloads/file"}


def test_reset_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """Of a project or a home directory that THROUGHLINE_DATA_DIR names."""
    data_dir, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for path in ("letters/mail", "kafka/consumer.py", "postgres/schema.sql", ".bashrc"):
        (data_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / path).write_text("")
    elsewhere.mkdir()
    (elsewhere / "file").write_text("")
    (data_dir / "postgres.unfinished").symlink_to(elsewhere)
    Installation(data_dir).save_state({"api_key": "x"})
    assert run(data_dir, "reset").returncode == 0
    assert files_in(data_dir) == {"lock", "letters/mail", "kafka/consumer.py", "postgres/schema.sql", ".bashrc"}
    assert not (data_dir / "postgres.unfinished").exists()
    assert (elsewhere / "file").exists()


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_reset_of_a_running_installation_is_refused(tmp_path: Path) -> None:
    Installation(tmp_path).save_state({"api_key": "x"})
    lock = DataDirLock(tmp_path)
    lock.acquire()
    assert_told(run(tmp_path, "reset"), "already running")
    lock.release()
    assert Installation(tmp_path).load_state() == {"api_key": "x"}


def test_the_credentials_are_for_this_user_only(tmp_path: Path) -> None:
    Installation(tmp_path).save_state({"api_key": "x"})
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "state.json").read_text()) == {"api_key": "x"}


def test_a_platform_key_comes_with_the_hash_that_admits_it(tmp_path: Path) -> None:
    result = run(tmp_path, "platform-key")
    key, setting = result.stdout.split()
    assert looks_like_key(key)
    assert setting == f"PLATFORM_KEY_HASH={hash_credential(key)}"


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])
