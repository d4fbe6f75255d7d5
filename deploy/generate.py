"""Writes `contracts/` from the code: JSON Schemas, AsyncAPI, OpenAPI. `--check` only says what is out of date.

    python -m deploy.generate [--check] [--accept-incompatible]

A change that would break readers or writers of a published message type is refused.
"""

import argparse
import difflib
import importlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploy.asyncapi import asyncapi_document
from deploy.compatibility import incompatibilities
from deploy.prepare import SERVICES
from deploy.schemas import message_schema, message_types
from shared.http.app import openapi_of
from shared.settings import KafkaSettings, Settings

ROOT = Path(__file__).resolve().parent.parent / "contracts"
_DIFF_LINES = 12


def documents() -> dict[str, Any]:
    """Every generated file: path below `contracts/` → its content. Needs no server."""
    found: dict[str, Any] = {
        f"schemas/{wire_type}.json": message_schema(model) for wire_type, model in message_types().items()
    }
    found["asyncapi.json"] = asyncapi_document(version("throughline"))
    for service in SERVICES:
        app = importlib.import_module(f"services.{service}.app").create_app(_settings(), "all")
        found[f"openapi/{service}.json"] = openapi_of(app)
    return found


def breaking_changes(root: Path, found: dict[str, Any]) -> list[str]:
    """Where the published schemas in `root` and the new ones disagree, one line for each."""
    lines = []
    for path in sorted(root.glob("schemas/*.json")):
        name = path.relative_to(root).as_posix()
        old = json.loads(path.read_text())
        problems = incompatibilities(old, found[name]) if name in found else ["the type is gone"]
        lines += [f"{path.stem}: {problem}" for problem in problems]
    return lines


def out_of_date(root: Path, texts: dict[str, str]) -> list[str]:
    """What differs between `root` and what should be there: a line for each file, and the first lines that differ."""
    existing = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.json")}
    report = [f"{name}: should not be there" for name in sorted(existing.keys() - texts.keys())]
    for name, text in texts.items():
        if name not in existing:
            report.append(f"{name}: missing")
        elif existing[name] != text:
            report += [f"{name}: out of date", *_diff(existing[name], text)]
    return report


def write(root: Path, texts: dict[str, str]) -> None:
    """`root` holds exactly these files afterwards."""
    for path in root.rglob("*.json"):
        if path.relative_to(root).as_posix() not in texts:
            path.unlink()
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when all is well, 1 when something is out of date or may not change like that."""
    parser = argparse.ArgumentParser(prog="python -m deploy.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    parser.add_argument("--accept-incompatible", action="store_true", help="for types that nobody uses yet")
    options = parser.parse_args(arguments)
    found = documents()
    breaking = [] if options.accept_incompatible else breaking_changes(ROOT, found)
    if breaking:
        return _say("These changes would break those who use the type; add a .v2 beside it instead:", breaking)
    texts = {name: _text(document) for name, document in sorted(found.items())}
    if options.check:
        report = out_of_date(ROOT, texts)
        return _say("contracts/ is out of date; run python -m deploy.generate:", report) if report else 0
    write(ROOT, texts)
    return 0


def _settings() -> Settings:
    return Settings(kafka=KafkaSettings())


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _diff(old: str, new: str) -> list[str]:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    more = len(lines) - _DIFF_LINES
    return [f"    {line}" for line in lines[:_DIFF_LINES]] + ([f"    … and {more} more lines"] if more > 0 else [])


def _say(headline: str, lines: list[str]) -> int:
    sys.stderr.write("\n".join([headline, *(f"  {line}" for line in lines), ""]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
