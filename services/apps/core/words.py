"""Scopes and money effects in the words of the people who approve them."""

from collections.abc import Sequence

from services.apps.core.partner_apps import MoneyBudget
from shared.money import format_money

SCOPE_WORDS = {
    "orders.read": "See orders",
    "orders.write": "Create and change orders",
    "payments.read": "See payments",
    "payments.write": "Take payments",
    "refunds.read": "See refunds",
    "refunds.write": "Refund buyers",
    "devices.read": "See devices and locations",
    "devices.write": "Set up and drive devices",
    "checkouts.read": "See checkout pages and payment links",
    "checkouts.write": "Create checkout pages and payment links",
    "invoices.read": "See invoices",
    "invoices.write": "Create and send invoices",
    "customers.read": "See customers: names, e-mail addresses, phone numbers",
    "customers.write": "Create and change customers",
    "subscriptions.read": "See subscriptions",
    "subscriptions.write": "Create and change subscriptions",
    "webhooks.read": "See webhook endpoints",
    "webhooks.write": "Set up webhook endpoints",
    "reports.read": "See reports",
}
"""What each scope that an app can be given lets it do; to write includes to read."""

MONEY_EFFECTS = {
    "refunds.write": "Pay money back to your buyers",
    "payments.write": "Charge your buyers, and record money as collected",
    "subscriptions.write": "Charge your buyers again and again",
    "orders.write": "Change what an order costs: prices, discounts, tips",
    "checkouts.write": "Ask your buyers for money on pages and links",
    "invoices.write": "Ask your buyers for money by invoice",
    "devices.write": "Charge your buyers at your devices",
}
"""What a scope can do to money, the most grave first."""

_EFFECT_WORDS = {"refund": "refunds at most", "collect": "collects at most"}


def scope_words(scopes: Sequence[str]) -> list[str]:
    """What the scopes let somebody do."""
    return [SCOPE_WORDS[scope] for scope in scopes]


def money_effects(scopes: Sequence[str]) -> list[str]:
    """What the scopes let somebody do to money; empty when nothing."""
    return [words for scope, words in MONEY_EFFECTS.items() if scope in scopes]


def budget_words(budget: MoneyBudget) -> str:
    """A budget as its app declares it: `refunds at most 500.00 EUR a day`."""
    limit = format_money(budget.limit_money.amount, budget.limit_money.currency)
    return f"{_EFFECT_WORDS[budget.effect]} {limit} a {budget.period}"
