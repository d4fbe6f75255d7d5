"""The AsyncAPI 3.0 document of all topics, made from the same definitions that the services run on."""

import inspect
from collections.abc import Sequence
from typing import Any

from shared import topics
from shared.contracts.model import Message
from shared.contracts.orders import EVENTS
from shared.contracts.topics_messages import MESSAGES_BY_TOPIC, PLUGIN_ORDERS, WRITTEN_BY_OTHERS

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_KEYED_BY = {
    topics.PAYMENTS_EVENTS: "the order id where an order is known, else the id of what the event is about",
    topics.APPS_EVENTS: "the id of what the event is about",
    PLUGIN_ORDERS: "the order id where the event concerns an order, else the id of what it is about",
    topics.ACCESS_GRANTS: "the credential's hash",
    topics.ACCESS_USED: "the service that saw it",
}
_PARAMETERS = {
    "channel_id": "The channel that writes it, and no other.",
    "app_id": "The installed app that reads it, and no other.",
}
_ENVELOPE: Json = {
    "type": "object",
    "description": "CloudEvents 1.0 in Kafka's binary content mode. Structured mode is read too.",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": _TEXT | {"description": "The same when the message is sent again."},
        "ce_type": _TEXT,
        "ce_source": _TEXT,
        "ce_subject": _TEXT,
        "ce_time": _TEXT | {"format": "date-time"},
        "content-type": {"const": "application/json"},
        "traceparent": _TEXT | {"description": "W3C Trace Context."},
        "ce_correlationid": _TEXT,
        "ce_causationid": _TEXT | {"description": "The message that caused this one."},
        "ce_merchantid": _TEXT,
        "ce_environment": {"enum": ["test", "live"]},
        "ce_actor": _TEXT | {"description": "Type and id with a colon."},
        "ce_orderversion": _TEXT | {"description": "The order's version, 1, 2, 3 …"},
    },
}
_REASONS: Json = {
    "type": "object",
    "description": "The headers of the original, and why it could not be processed.",
    "required": ["tl_reason", "tl_topic", "tl_partition", "tl_offset", "tl_failed_at"],
    "properties": {
        "tl_reason": _TEXT | {"description": "A stable code."},
        "tl_detail": _TEXT,
        "tl_topic": _TEXT,
        "tl_partition": _TEXT,
        "tl_offset": _TEXT,
        "tl_failed_at": _TEXT | {"format": "date-time"},
        "tl_truncated": _TEXT | {"description": "The size of the original value, of which this is the beginning."},
    },
}


def asyncapi_document(version: str) -> Json:
    """Every topic with its messages; their payloads are the files in `schemas/`."""
    missing = {spec.name for spec in topics.core_topics(1)} - {
        *MESSAGES_BY_TOPIC,
        *map(topics.dead_letters, MESSAGES_BY_TOPIC),
    }
    if missing:
        raise ValueError(f"no messages are given for {', '.join(sorted(missing))}")
    channels: Json = {}
    operations: Json = {}
    messages: Json = {}
    for topic, models in MESSAGES_BY_TOPIC.items():
        channels[topic] = _channel(topic, [model.wire_type for model in models])
        if topic != PLUGIN_ORDERS:
            channels[topics.dead_letters(topic)] = _channel(topics.dead_letters(topic), ["dead_letter"])
        operations[topic] = _operation(topic)
        messages |= {model.wire_type: _message(topic, model) for model in models}
    messages["dead_letter"] = {"name": "dead_letter", "summary": "Unchanged.", "headers": _REASONS, "payload": {}}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Throughline", "version": version, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": {"CloudEvent": _ENVELOPE}},
    }


def _channel(topic: str, messages: Sequence[str]) -> Json:
    channel: Json = {
        "address": topic,
        "messages": {_name(message): {"$ref": f"#/components/messages/{message}"} for message in messages},
    }
    parameters = {name: {"description": text} for name, text in _PARAMETERS.items() if f"{{{name}}}" in topic}
    return channel | ({"parameters": parameters} if parameters else {})


def _operation(topic: str) -> Json:
    action = "receive" if topic in WRITTEN_BY_OTHERS else "send"
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}


def _message(topic: str, model: type[Message]) -> Json:
    key = _KEYED_BY.get(topic, "the order id")
    message: Json = {
        "name": model.wire_type,
        "title": model.__name__,
        "headers": {"$ref": "#/components/schemas/CloudEvent"},
        "payload": {"$ref": f"schemas/{model.wire_type}.json"},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
    }
    if model.__doc__:
        message["summary"] = inspect.cleandoc(model.__doc__)
    if topic == topics.ORDERS_EVENTS:
        message["description"] = "`ce_type` is one of " + ", ".join(f"`{wire_type}`" for wire_type in EVENTS) + "."
    return message


def _name(message: str) -> str:
    return message.replace(".", "_")
