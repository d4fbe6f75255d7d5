"""The command line as a person uses it: sentences instead of tracebacks, and exit codes."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from deploy.installation import Installation
from deploy.local.datadir import REPOSITORY, DataDirLock
from shared.auth.keys import hash_credential, looks_like_key

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
