"""What a comparison came to, for people and for programs."""

from dataclasses import asdict

from rich.console import Console

from deploy.reconcile.books import Difference, Json
from shared.immutable import immutable
from shared.money import format_money

_SUMS = ("held", "captured", "refunded")


@immutable
class Report:
    """What was compared, and where the two sides differ."""

    merchant_id: str
    environment: str
    movements: int
    payments: int
    orders: int
    differences: tuple[Difference, ...]
    elsewhere: tuple[Json, ...]
    """What people gave back in ways of which the ledger knows nothing: explained, so no differences."""

    def for_programs(self) -> Json:
        """As JSON; amounts are in minor units."""
        return asdict(self)

    def tell(self, console: Console) -> None:
        """Each difference with the records of both sides."""
        console.print(
            f"Compared {self.movements} movements in the sandbox's ledger with {self.payments} payments on "
            f"{self.orders} orders of {self.merchant_id} ({self.environment})."
        )
        for difference in self.differences:
            _tell_difference(difference, console)
        for refund in self.elsewhere:
            amount = format_money(refund["amount"], refund["currency"])
            place = f"{refund['order_id']}, payment {refund['reference']}"
            console.print(f"{place}: {amount} was given back elsewhere ({refund['refund_reference']}).")
        number = len(self.differences)
        color = "red" if number else "green"
        console.print(f"[bold {color}]{number} {'difference' if number == 1 else 'differences'}.[/bold {color}]")


def _tell_difference(difference: Difference, console: Console) -> None:
    currency = difference.currency
    console.print(f"\n[bold]{difference.order_id}, payment {difference.reference}[/bold]")
    console.print(f"  the ledger says  {_sums(difference.ledger, currency)}")
    for movement in difference.movements:
        amount = format_money(movement["amount"], currency)
        console.print(f"    {movement['made_at']}  {movement['kind']} {amount}  {movement['movement_id']}")
    console.print(f"  the order says   {_sums(difference.orders, currency)}")
    for payment in difference.payments:
        told = f"{payment['updated_at']}  {_sums(payment, currency)}"
        console.print(f"    {told}  {payment['payment_id']}, version {payment['version']}")


def _sums(record: Json, currency: str) -> str:
    return ", ".join(f"{name} {format_money(record[name], currency)}" for name in _SUMS)
