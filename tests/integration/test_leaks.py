"""A secret that comes out fails the run: planted ones are found, each where it lies."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.datadir import REPOSITORY
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import TopicSpec
from tests.leaks import Leaks
from tests.raw_batches import NotUtf8, raw_batch
from tests.servers import Servers

_KEY = "tl_test_" + "0" * 32 + "4P6jTQ"
_PLANTED = {
    "a key on standard output": "from shared.auth import new_api_key; print('made', new_api_key('test'))",
    "a password in a log": "import logging, secrets; logging.getLogger('a').error('x=%s.', secrets.token_urlsafe(32))",
    "a part of a longer word": "import secrets, sys; sys.stderr.write('prefix_' + secrets.token_urlsafe(32) + '-end')",
    "a log in a file": "tmp_path.joinpath('server.log').write_text('Bearer ' + secrets.token_hex(16))",
    "a token": "print('eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwOi8vYSJ9.' + 'a' * 86)",
    "a secret that was noted": "LEAKS.note('hunter2-hunter2-hunter2'); print('hunter2-hunter2-hunter2')",
}


def run(tmp_path: Path, line: str) -> "subprocess.CompletedProcess[str]":
    test = tmp_path / "test_planted.py"
    test.write_text(f"import secrets\nfrom tests.leaks import LEAKS\ndef test_planted(tmp_path):\n    {line}\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.leaks", "-q", f"--rootdir={tmp_path}", str(test)]
    command += [f"--basetemp={tmp_path / 'inner'}", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    # The outer run would find it too.
    for log in (tmp_path / "inner").rglob("*.log"):
        log.unlink()
    return done


@pytest.mark.parametrize("line", _PLANTED.values(), ids=_PLANTED)
def test_a_test_that_lets_a_secret_out_fails_the_run(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, line)
    assert (done.returncode, "secrets came out" in done.stdout) == (1, True), done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("line", ["print(secrets.token_hex(4))", "print('tl_test_short', 'whsec_…', 'a' * 43)"])
def test_other_text_does_not(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, line)
    assert (done.returncode, "came out" in done.stdout) == (0, False), done.stdout + done.stderr


def test_the_secret_itself_is_not_shown() -> None:
    leaks = Leaks()
    leaks.search("somewhere", f"Authorization: Bearer {_KEY}")
    assert leaks.found == ["somewhere: tl_test_0000…"]


@pytest.mark.servers
async def test_topics_and_tables_are_searched(servers: Servers) -> None:
    leaks, secret, name = Leaks(), f"planted-{uuid4().hex}", f"t{uuid4().hex[:10]}"
    leaks.note(secret)
    admin = KafkaAdmin(KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers))
    await admin.ensure_topics([TopicSpec(name, 1)])
    planted, where = secret.encode(), servers.kafka_bootstrap_servers
    async with AIOKafkaProducer(bootstrap_servers=where) as producer:
        batch = raw_batch(producer, (None, None, [(NotUtf8("?", b"\xff" + planted), b"a")]))
        await (await producer.send_batch(batch, name, partition=0))
    async with (
        AIOKafkaProducer(bootstrap_servers=where, transactional_id=name) as producer,
        producer.transaction(),
    ):
        await producer.send(name, key=planted, value=b'{"a": "' + planted + b'"}', headers=[(secret, planted)])
    leaks.search_topics(servers.kafka_bootstrap_servers)
    assert leaks.found == [f"topic {name}: planted-{secret[8:12]}…"] * 5
    await admin.delete_topics([name])

    connection = await asyncpg.connect(servers.database_url)
    await connection.execute(f"CREATE TABLE {name} (a text, b bytea, c jsonb)")
    try:
        await connection.execute(
            f"INSERT INTO {name} VALUES ($1, $2, $3)", f"x {secret} x", secret.encode(), f'{{"d": "{secret}"}}'
        )
        leaks.found.clear()
        leaks.search_tables(servers.database_url)
    finally:
        await connection.execute(f"DROP TABLE {name}")
        await connection.close()
    assert leaks.found == [f"table public.{name}, column {column}: planted-{secret[8:12]}…" for column in "abc"]
