"""Compares all there is of one merchant."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.access import sandbox
from deploy.installation import Installation
from deploy.local.datadir import default_data_dir
from deploy.local.problem import RuntimeProblem
from deploy.reconcile.books import Books
from deploy.reconcile.report import Report
from deploy.reconcile.sides import Sides
from deploy.status import status

_LOOKS = 3
_PAUSE_S = 1.0

Reading = Callable[[str, int], None]
"""Told what is read, and how much of it by now."""


def run(api_key: str | None) -> Report:
    """Of the demo merchant of the running installation, or of the one whose key this is; says how far it is."""
    if api_key == "":
        raise RuntimeProblem("The API key is empty. Give one, or leave --api-key out to compare the demo merchant.")
    found, settings = status(), sandbox(Installation(default_data_dir()))
    key = found["api_key"] if api_key is None else api_key
    sides = Sides(found["base_url"], key, settings.url or found["base_url"], settings.secret)
    columns = (SpinnerColumn(), TextColumn("{task.completed} {task.description} read"), TimeElapsedColumn())
    with sides, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {what: progress.add_task(what, total=None) for what in ("movements", "orders")}
        return reconcile(sides, lambda what, number: progress.update(tasks[what], completed=number))


def reconcile(sides: Sides, reading: Reading) -> Report:
    """What differs is looked at again before it is told: money moves while both sides are read."""
    with Books() as books:
        for number, page in sides.movements():
            books.note_movements(page)
            reading("movements", number)
        orders = 0
        for orders, page in sides.orders():
            books.note_orders(page)
            reading("orders", orders)
        different = books.differing()
        for _ in range(_LOOKS):
            if different:
                time.sleep(_PAUSE_S)
                _look_again(sides, books, {order_id for order_id, _, _ in different})
                different = books.differing()
        return Report(
            merchant_id=sides.merchant_id,
            environment=sides.environment,
            movements=books.count("movements"),
            payments=books.count("payments"),
            orders=orders,
            differences=tuple(books.difference(*key) for key in different),
            elsewhere=tuple(books.elsewhere()),
        )


def _look_again(sides: Sides, books: Books, order_ids: set[str]) -> None:
    for _, page in sides.movements(made_from=books.newest()):
        books.note_movements(page)
    for order_id in sorted(order_ids):
        order = sides.order(order_id)
        if order is not None:
            books.note_orders([order])
