"""What clients may send about orders, and the commands that it becomes. Everything not named here is refused."""

from typing import Annotated, Any, cast

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from services.orders.http import examples
from shared.contracts import order_commands as commands
from shared.contracts import order_parts as parts
from shared.contracts.model import (
    Identifier,
    LongText,
    Metadata,
    MetadataPatch,
    Reference,
    Text,
)
from shared.http.bodies import AmountMoney, Currency, PositiveAmountMoney, RequestModel, exactly_one, shown
from shared.http.problems import Problem
from shared.ids import IdMaker


def _text_of_integer(value: object) -> object:
    """An integer is accepted where a decimal string is meant."""
    return str(value) if type(value) is int else value


# The patterns say in one what the types check in two steps: more than zero, and at most 100.
_QuantityText = Annotated[str, StringConstraints(pattern=r"^(?!0+(\.0+)?$)[0-9]{1,7}(\.[0-9]{1,3})?$")]
_PercentageText = Annotated[str, StringConstraints(pattern=r"^(100(\.0{1,4})?|0?[0-9]{1,2}(\.[0-9]{1,4})?)$")]
_QuantityInput = _QuantityText | Annotated[int, Field(ge=1, le=9_999_999)]
_PercentageInput = _PercentageText | Annotated[int, Field(ge=0, le=100)]
Quantity = Annotated[parts.Quantity, BeforeValidator(_text_of_integer, json_schema_input_type=_QuantityInput)]
Percentage = Annotated[parts.Percentage, BeforeValidator(_text_of_integer, json_schema_input_type=_PercentageInput)]


def in_currency(money: AmountMoney | PositiveAmountMoney, currency: str, param: str) -> int:
    """The amount in minor units; money in another currency than the order's is a problem that names the field."""
    if money.currency != currency:
        detail = f"The order is in {currency}, this amount in {money.currency}."
        raise Problem("CURRENCY_MISMATCH", detail, param=param)
    return money.amount


class TaxRequest(RequestModel):
    """A rate in per cent, or the amount that the caller worked out."""

    model_config = ConfigDict(json_schema_extra={"oneOf": cast(Any, exactly_one("percentage", "tax_money"))})

    name: Text
    percentage: Percentage | None = None
    tax_money: AmountMoney | None = None
    inclusive: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> "TaxRequest":
        if (self.percentage is None) == (self.tax_money is None):
            raise ValueError("give either percentage or tax_money")
        return self

    def part(self, currency: str, param: str) -> parts.Tax:
        amount = None if self.tax_money is None else in_currency(self.tax_money, currency, f"{param}.tax_money")
        return parts.Tax(name=self.name, percentage=self.percentage, amount_minor=amount, inclusive=self.inclusive)


Taxes = Annotated[tuple[TaxRequest, ...], Field(max_length=10)]


def _taxes(taxes: tuple[TaxRequest, ...], currency: str, param: str) -> tuple[parts.Tax, ...]:
    return tuple(tax.part(currency, f"{param}taxes.{index}") for index, tax in enumerate(taxes))


class LineItemRequest(RequestModel):
    model_config = shown(examples.LINE_ITEM)

    name: Text
    sku: Reference | None = None
    quantity: Quantity = "1"
    unit_price_money: AmountMoney
    taxes: Taxes = ()
    metadata: Annotated[Metadata, Field(max_length=parts.MAX_METADATA_KEYS, default_factory=dict)]

    def part(self, line_item_id: str, currency: str, prefix: str = "") -> parts.LineItem:
        return parts.LineItem(
            line_item_id=line_item_id,
            name=self.name,
            sku=self.sku,
            quantity=self.quantity,
            unit_price_minor=in_currency(self.unit_price_money, currency, f"{prefix}unit_price_money.currency"),
            taxes=_taxes(self.taxes, currency, prefix),
            metadata=self.metadata,
        )


class LineItemPatch(RequestModel):
    """Only the fields that are given change."""

    name: Text | None = None
    sku: Reference | None = None
    quantity: Quantity | None = None
    unit_price_money: AmountMoney | None = None
    taxes: Taxes | None = None
    metadata: MetadataPatch | None = None
    expected_version: int | None = None

    def command(self, line_item_id: str, currency: str) -> commands.UpdateLineItem:
        given = {name: getattr(self, name) for name in self.model_fields_set & {"name", "sku", "quantity", "metadata"}}
        if self.unit_price_money is not None:
            given["unit_price_minor"] = in_currency(self.unit_price_money, currency, "unit_price_money.currency")
        if self.taxes is not None:
            given["taxes"] = _taxes(self.taxes, currency, "")
        return commands.UpdateLineItem(line_item_id=line_item_id, **given)


class AddLineItemRequest(LineItemRequest):
    expected_version: int | None = None


class ChargeRequest(RequestModel):
    model_config = shown(examples.CHARGE)

    name: Text
    type: parts.ChargeType = "other"
    amount_money: AmountMoney
    taxes: Taxes = ()

    def part(self, charge_id: str, currency: str, prefix: str = "") -> parts.Charge:
        return parts.Charge(
            charge_id=charge_id,
            name=self.name,
            type=self.type,
            amount_minor=in_currency(self.amount_money, currency, f"{prefix}amount_money.currency"),
            taxes=_taxes(self.taxes, currency, prefix),
        )


class AddChargeRequest(ChargeRequest):
    expected_version: int | None = None


class ChargePatch(RequestModel):
    """Only the fields that are given change."""

    name: Text | None = None
    type: parts.ChargeType | None = None
    amount_money: AmountMoney | None = None
    taxes: Taxes | None = None
    expected_version: int | None = None

    def command(self, charge_id: str, currency: str) -> commands.UpdateCharge:
        given = {name: getattr(self, name) for name in self.model_fields_set & {"name", "type"}}
        if self.amount_money is not None:
            given["amount_minor"] = in_currency(self.amount_money, currency, "amount_money.currency")
        if self.taxes is not None:
            given["taxes"] = _taxes(self.taxes, currency, "")
        return commands.UpdateCharge(charge_id=charge_id, **given)


class NewOrderDiscountRequest(RequestModel):
    """A percentage or an amount, off all lines: those of a new order have no ids yet by which to name some."""

    model_config = shown(examples.DISCOUNT, oneOf=exactly_one("percentage", "amount_money"))

    name: Text
    percentage: Percentage | None = None
    amount_money: PositiveAmountMoney | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "NewOrderDiscountRequest":
        if (self.percentage is None) == (self.amount_money is None):
            raise ValueError("give either percentage or amount_money")
        return self

    def part(self, discount_id: str, currency: str, prefix: str = "") -> parts.Discount:
        amount = self.amount_money
        return parts.Discount(
            discount_id=discount_id,
            name=self.name,
            percentage=self.percentage,
            amount_minor=None if amount is None else in_currency(amount, currency, f"{prefix}amount_money.currency"),
        )


class DiscountRequest(NewOrderDiscountRequest):
    """A percentage or an amount, off all lines or off the named ones."""

    line_item_ids: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=parts.MAX_LINES)] | None = None

    def part(self, discount_id: str, currency: str, prefix: str = "") -> parts.Discount:
        discount = super().part(discount_id, currency, prefix)
        return discount.model_copy(update={"line_item_ids": self.line_item_ids})


class AddDiscountRequest(DiscountRequest):
    expected_version: int | None = None


class RemoveDiscountRequest(RequestModel):
    discount_id: Identifier
    expected_version: int | None = None


class TipRequest(RequestModel):
    model_config = shown(examples.TIP)

    tip_money: AmountMoney
    expected_version: int | None = None


class CreateOrderRequest(RequestModel):
    """A new order. Totals are computed by the server; amounts are in the order's currency."""

    model_config = shown(examples.NEW_ORDER)

    source: parts.Source = "api"
    currency: Currency
    draft: bool = False
    """A draft can be edited but not collected on, and is not announced as paid, until it is opened (`PATCH` with
    `status: open`)."""
    external_reference: Reference | None = None
    customer_id: Identifier | None = None
    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    line_items: Annotated[tuple[LineItemRequest, ...], Field(max_length=parts.MAX_LINES)] = ()
    charges: Annotated[tuple[ChargeRequest, ...], Field(max_length=parts.MAX_CHARGES)] = ()
    discounts: Annotated[tuple[NewOrderDiscountRequest, ...], Field(max_length=parts.MAX_DISCOUNTS)] = ()
    tip_money: AmountMoney | None = None
    metadata: Annotated[Metadata, Field(max_length=parts.MAX_METADATA_KEYS, default_factory=dict)]

    def command(self, new_id: IdMaker) -> commands.CreateOrder:
        """The command, with an id for each part."""
        currency = self.currency
        return commands.CreateOrder(
            currency=currency,
            source=self.source,
            draft=self.draft,
            line_items=tuple(
                line.part(new_id("li"), currency, f"line_items.{index}.") for index, line in enumerate(self.line_items)
            ),
            charges=tuple(
                charge.part(new_id("chg"), currency, f"charges.{index}.") for index, charge in enumerate(self.charges)
            ),
            discounts=tuple(
                discount.part(new_id("dis"), currency, f"discounts.{index}.")
                for index, discount in enumerate(self.discounts)
            ),
            tip_minor=0 if self.tip_money is None else in_currency(self.tip_money, currency, "tip_money.currency"),
            context=parts.Context(
                location_id=self.location_id,
                device_id=self.device_id,
                operator_id=self.operator_id,
                customer_id=self.customer_id,
                external_reference=self.external_reference,
            ),
            metadata=self.metadata,
        )


_OPENS_OR_CHANGES = [
    {"properties": {"status": {"type": "null"}}},
    {"propertyNames": {"enum": ["status", "expected_version"]}},
]


class UpdateOrderRequest(RequestModel):
    """Only the fields that are given change; `null` clears one. Metadata merges by key, `null` removes a key."""

    model_config = shown(examples.CHANGES, anyOf=_OPENS_OR_CHANGES)

    status: Annotated[str, Field(pattern="^open$")] | None = None
    """`open` opens a draft."""
    external_reference: Reference | None = None
    customer_id: Identifier | None = None
    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    metadata: MetadataPatch | None = None
    expected_version: int | None = None

    @model_validator(mode="after")
    def _opens_or_changes(self) -> "UpdateOrderRequest":
        if self.status is not None and self.model_fields_set - {"status", "expected_version"}:
            raise ValueError("open a draft and change its details in two requests")
        return self

    def command(self) -> commands.UpdateOrder | commands.OpenOrder:
        if self.status is not None:
            return commands.OpenOrder()
        given = self.model_fields_set - {"expected_version", "status"}
        return commands.UpdateOrder(**{name: getattr(self, name) for name in given})


class ReasonRequest(RequestModel):
    """Why, for the history."""

    model_config = shown(examples.REASON)

    reason: Text | None = None
    expected_version: int | None = None


class NoteRequest(RequestModel):
    model_config = shown(examples.NOTE)

    text: LongText
