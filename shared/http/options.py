"""OPTIONS says every method of a path, HEAD too; the framework's answer knows only the path's first handler."""

from collections.abc import Sequence

from litestar.routes import BaseRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send


def with_all_methods(app: ASGIApp, routes: Sequence[BaseRoute]) -> ASGIApp:
    """`app`, whose answers to OPTIONS name what each path of `routes` takes."""
    allowed = {route.path_format: ", ".join(sorted(route.methods)).encode() for route in routes}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_all_methods(message: Message) -> None:
            if message["type"] == "http.response.start":
                methods = allowed.get(str(scope.get("path_template")))
                headers = [header for header in message.get("headers", ()) if header[0] != b"allow" or methods is None]
                message["headers"] = headers if methods is None else [*headers, (b"allow", methods)]
            await send(message)

        await app(scope, receive, send_all_methods if scope.get("method") == "OPTIONS" else send)

    return answer
