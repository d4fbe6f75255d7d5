"""The API as an OpenAPI 3.1 document: paths from the routes, schemas from the very models that check and answer."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Literal

from litestar import Controller, Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.auth.guard import Requires, platform_only
from shared.http.operations import KEY, Operation
from shared.http.problem_codes import CODES, slug_of
from shared.http.requests import API_VERSIONS, DEFAULT_WAIT_S, LONGEST_WAIT_S
from shared.ids import PREFIXES

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_TEXT: Json = {"type": "string"}
_STATUSES_OF_STANDARDS = (400, 401)
_Mode = Literal["validation", "serialization"]
_RULES = "No text may hold a NUL character, and a whole number is written without a decimal point."
"""What holds for every field, and JSON Schema would have to repeat for each or cannot say."""


def describe(title: str, handlers: Sequence[ControllerRouterHandler]) -> Json:
    """The document of these handlers. Made from an app of its own, so that no path of the real one is taken."""
    app = Litestar(
        route_handlers=list(handlers),
        openapi_config=OpenAPIConfig(title=title, version=API_VERSIONS[-1]),
        logging_config=None,
    )
    document = app.openapi_schema.to_schema()
    operations = list(_operations(app))
    names, schemas = _schemas(operations)
    for path, method, handler, described in operations:
        document["paths"][path][method].update(
            _described(document["paths"][path][method], path, handler, described, names)
        )
    document["components"] = {
        "schemas": schemas | {"Problem": _PROBLEM},
        "headers": _HEADERS,
        "examples": {code: {"value": _problem_example(code)} for code in CODES},
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `tl_test_…`"}},
    }
    document["info"]["description"] = _RULES
    document["tags"] = _tags(handlers)
    document["security"] = [{"bearer": []}]
    document.pop("servers", None)
    return document


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler, Operation]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                described = handler.opt.get(KEY)
                if isinstance(described, Operation):
                    for method in handler.http_methods:
                        yield route.path_format, method.lower(), handler, described


_Names = Callable[[type[BaseModel], _Mode], Json]


def _schemas(operations: Sequence[tuple[str, str, HTTPRouteHandler, Operation]]) -> tuple[_Names, Json]:
    """A function from models to references, and the schemas that they refer to."""
    used: dict[tuple[type[BaseModel], _Mode], None] = {}
    for _, _, _, described in operations:
        for model in described.takes.values():
            used[model, "validation"] = None
        for answer in (described.gives, described.errors):
            if answer is not None:
                used[answer, "serialization"] = None
    references, definitions = models_json_schema(list(used), ref_template=_REF)
    schemas = definitions.get("$defs", {})
    for _, _, _, described in operations:
        if described.query is not None:
            schemas |= _query_schema(described.query).get("$defs", {})
    return lambda model, mode: references[model, mode], schemas


def _described(known: Json, path: str, handler: HTTPRouteHandler, described: Operation, ref: _Names) -> Json:
    parameters = [_path_parameter(item) for item in known.get("parameters", ()) if item["in"] == "path"]
    parameters += _query_parameters(described) + _header_parameters(described)
    guards = handler.guards or ()
    scopes = [scope for guard in guards if isinstance(guard, Requires) for scope in guard.scopes]
    text = [known.get("description"), f"Scope: `{'`, `'.join(scopes)}`." if scopes else None]
    if any(isinstance(guard, Requires) and guard.live for guard in guards):
        text.append("A test key may not do this.")
    if any(guard is platform_only or (isinstance(guard, Requires) and guard.platform) for guard in guards):
        text.append("A platform key may do this." if scopes else "Only a platform key may do this.")
    open_to_all = bool(handler.opt.get("open"))
    refusals = [*([] if open_to_all else ["UNAUTHENTICATED"]), *_refusals(guards)]
    found: Json = {
        "operationId": _operation_id(handler),
        "parameters": parameters,
        "responses": _responses(described, _possible(described, refusals, "{" in path), ref),
        "description": "\n\n".join(part for part in text if part),
    }
    if open_to_all:
        found["security"] = []
    if described.takes:
        content = {media_type: {"schema": ref(model, "validation")} for media_type, model in described.takes.items()}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _refusals(guards: Sequence[Any]) -> list[str]:
    return (["INSUFFICIENT_SCOPE"] if any(isinstance(guard, Requires) for guard in guards) else []) + (
        ["NOT_ALLOWED"] if guards else []
    )


def _operation_id(handler: HTTPRouteHandler) -> str:
    """What generated clients call it: the handler's name, as `createOrder`."""
    first, *others = handler.handler_name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _tags(controllers: Sequence[ControllerRouterHandler]) -> list[Json]:
    """The groups of operations, each with what the docstring of its first controller says of it."""
    described: dict[str, str] = {}
    for controller in controllers:
        if isinstance(controller, type) and issubclass(controller, Controller):
            for tag in vars(controller).get("tags") or ():
                described.setdefault(tag, inspect.cleandoc(controller.__doc__ or ""))
    return [{"name": tag, "description": text} for tag, text in described.items()]


def _path_parameter(parameter: Json) -> Json:
    name = parameter["name"]
    if name not in PREFIXES:
        return parameter
    what = name.removesuffix("_id").replace("_", " ")
    return parameter | {"description": f"The id of the {what}: `{PREFIXES[name]}_…`."}


def _query_schema(query: type[BaseModel]) -> Json:
    return query.model_json_schema(ref_template=_REF)


def _query_parameters(described: Operation) -> list[Json]:
    if described.query is None:
        return []
    schema = _query_schema(described.query)
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": field,
            **({"description": field["description"]} if "description" in field else {}),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _header_parameters(described: Operation) -> list[Json]:
    headers = []
    if described.idempotent:
        schema: Json = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        text = "Send the same key to repeat a request safely; kept for 24 hours."
        headers.append({"name": "Idempotency-Key", "in": "header", "schema": schema, "description": text})
    if described.waits:
        schema = {"type": "string", "examples": [f"wait={DEFAULT_WAIT_S}"]}
        text = f"Seconds to wait for the outcome before a 202, at most {LONGEST_WAIT_S}."
        headers.append({"name": "Prefer", "in": "header", "schema": schema, "description": text})
    return headers


def _responses(described: Operation, codes: list[str], ref: _Names) -> Json:
    statuses = [described.status, *([202] if described.waits or described.postponed else [])]
    answers = {str(status): _success(status, described, ref) for status in statuses}
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    answers |= {str(status): _problem(found) for status, found in sorted(by_status.items())}
    if described.errors is not None:
        content = {"application/json": {"schema": ref(described.errors, "serialization")}}
        refused = {"description": "Refused", "headers": _headers("X-Request-Id"), "content": content}
        answers |= {str(status): refused for status in _STATUSES_OF_STANDARDS}
    return answers


def _possible(described: Operation, refusals: list[str], has_id: bool) -> list[str]:
    codes = ["RATE_LIMITED", "INTERNAL_ERROR", "TRY_LATER", "UNKNOWN_FIELD", *refusals]
    if has_id:
        codes.append("NOT_FOUND")
    if described.query is not None:
        codes.append("VALIDATION_FAILED")
        codes += ["INVALID_PAGE_TOKEN"] if described.listed else []
    if described.takes:
        codes += ["MALFORMED_JSON", "VALIDATION_FAILED", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]
    if described.idempotent and described.errors is None:
        codes += ["IDEMPOTENCY_KEY_REUSED", "IDEMPOTENCY_KEY_IN_PROGRESS"]
    return list(dict.fromkeys([*codes, *described.problems]))


def _success(status: int, described: Operation, ref: _Names) -> Json:
    answer: Json = {"description": HTTPStatus(status).phrase, "headers": _headers("X-Request-Id", *_LIMITS)}
    if described.idempotent and described.errors is None:
        answer["headers"] |= _headers("Idempotent-Replayed")
    if described.gives is not None and status != 204:
        schema = ref(described.gives, "serialization")
        envelope = _envelope(schema, described.listed) if described.errors is None else schema
        answer["content"] = {"application/json": {"schema": envelope}}
    return answer


def _envelope(data: Json, listed: bool) -> Json:
    properties: Json = {"data": {"type": "array", "items": data} if listed else data, "request_id": {"type": "string"}}
    if listed:
        properties["next_page_token"] = {"type": "string", "description": "Not there on the last page."}
    return {"type": "object", "required": ["data", "request_id"], "properties": properties}


def _problem(codes: list[str]) -> Json:
    listed = "\n".join(f"* `{code}`: {CODES[code].title}" for code in codes)
    schema = {"$ref": _REF.format(model="Problem")}
    headers = [*_HEADERS_OF.get(CODES[codes[0]].status, ()), "X-Request-Id"]
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {"application/problem+json": {"schema": schema, "examples": examples}}
    return {"description": listed, "headers": _headers(*headers), "content": content}


def _problem_example(code: str) -> Json:
    meaning = CODES[code]
    return {
        "type": f"/problems/{slug_of(code)}",
        "title": meaning.title,
        "status": meaning.status,
        "detail": f"{meaning.title}.",
        "instance": "/v1/…",
        "code": code,
        "remediation": meaning.remediation,
        "request_id": "req_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_HEADERS: Json = {
    "X-Request-Id": {"description": "The request's name in logs; yours where you sent one.", "schema": _TEXT},
    "Idempotent-Replayed": {
        "description": "`true`: the stored answer of the first request with this `Idempotency-Key`.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit": {
        "description": "What is left to `credential` and to `merchant`: `r` requests now, and no more for `t` seconds.",
        "schema": _TEXT,
    },
    "RateLimit-Policy": {
        "description": "What there is when nothing was used: `q` requests in `w` seconds.",
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait before sending the request again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": _TEXT},
}
_LIMITS = ("RateLimit", "RateLimit-Policy")
_HEADERS_OF = {401: ("WWW-Authenticate",), 429: ("Retry-After", *_LIMITS), 503: ("Retry-After",)}


_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457; `code` is stable, and what it means is on the page in `type`.",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/order-not-open"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "enum": sorted(CODES)},
        "param": {"type": "string", "description": "The path of the field, header or parameter."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("param", "code", "detail")},
            },
        },
        "blockers": {"type": "array", "items": {"type": "object"}, "description": "The objects in the way."},
        "remediation": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
