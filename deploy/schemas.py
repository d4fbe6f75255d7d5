"""JSON Schemas of all messages, found by walking `shared.contracts`."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import shared.contracts
from shared.contracts.model import Message

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def message_types() -> dict[str, type[Message]]:
    """Wire type → model of every message there is; raises `ValueError` where two share a wire type."""
    found: dict[str, type[Message]] = {}
    for model in sorted(_models(), key=lambda model: model.__qualname__):
        other = found.setdefault(model.wire_type, model)
        if other is not model:
            raise ValueError(f"{model.__qualname__} and {other.__qualname__} share the wire type {model.wire_type}")
    return dict(sorted(found.items()))


def message_schema(model: type[Message]) -> Json:
    """What a reader of the type must accept, and may rely on."""
    return {"$schema": DIALECT, "$id": model.wire_type, **model.model_json_schema(mode="validation")}


def _models() -> set[type[Message]]:
    return {
        member
        for module in _modules()
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Message) and "wire_type" in vars(member)
    }


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(shared.contracts.__path__, "shared.contracts."):
        yield importlib.import_module(module.name)
