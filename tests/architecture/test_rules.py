"""Rules of the repository that a machine can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.prepare import PARTS
from shared.contracts.orders import COMMANDS, EVENTS

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("services", "shared", "deploy") for path in (ROOT / folder).rglob("*.py")]
VAGUE = {"utils.py", "helpers.py", "common.py", "base.py", "misc.py"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_import_contracts_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_core_knows_only_the_standard_library_contracts_money_and_how_data_is_declared() -> None:
    for path in ROOT.glob("services/*/core/*.py"):
        for name in imports(path):
            pure = ("services." + path.parts[-3] + ".core", "shared.contracts", "shared.money", "shared.immutable")
            own = name.startswith(pure)
            assert own or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_no_file_is_a_place_where_anything_goes() -> None:
    assert [path for path in SOURCES if path.name in VAGUE] == []


@pytest.mark.parametrize("service", PARTS)
def test_no_service_reads_anothers_tables(service: str) -> None:
    others = set(PARTS) - {service}
    for path in (ROOT / "services" / service).rglob("*.py"):
        for other in others:
            found = re.search(rf"(FROM|JOIN|INTO|UPDATE)\s+{other}\.", path.read_text())
            assert found is None, f"{path}: {found}"


def test_wire_types_say_service_and_version() -> None:
    for wire_type in (*COMMANDS, *EVENTS):
        assert re.fullmatch(r"orders\.[a-z]+(_[a-z]+)*\.v[1-9]", wire_type)


def test_only_one_place_acknowledges_kafka_messages() -> None:
    commits = [path for path in SOURCES if re.search(r"consumer\.commit\(|\.ack\(\)", path.read_text())]
    assert [path.relative_to(ROOT).as_posix() for path in commits] == ["shared/kafka/consumer.py"]
