"""Arithmetic of money in integer minor units: exact, rounded half away from zero, and spread without a remainder."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

# ISO 4217, list one (2026): the currencies whose minor unit is not a hundredth. Other active codes have two decimals.
_EXPONENTS: Final = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
_TWO_DECIMALS: Final = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
    "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN "
    "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG".split()
)
CURRENCIES: Final = _TWO_DECIMALS | _EXPONENTS.keys()
"""Active ISO 4217 codes that money can be in."""


def exponent(currency: str) -> int:
    """How many decimals the currency has: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises `ValueError` for what is no active ISO 4217 code.
    """
    if currency not in CURRENCIES:
        raise ValueError(f"{currency} is not an ISO 4217 currency")
    return _EXPONENTS.get(currency, 2)


def round_half_away(value: Fraction) -> int:
    """The nearest integer; a half goes away from zero, as tills and tax offices do it."""
    doubled = 2 * abs(value.numerator) + value.denominator
    rounded = doubled // (2 * value.denominator)
    return rounded if value >= 0 else -rounded


def times(unit_minor: int, quantity: Decimal) -> int:
    """Unit price × quantity, rounded half away from zero."""
    return round_half_away(Fraction(quantity) * unit_minor)


def percent_of(amount_minor: int, percentage: Decimal) -> int:
    """`percentage` hundredths of the amount, rounded half away from zero."""
    return round_half_away(Fraction(percentage) * amount_minor / 100)


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `weights` so that the parts add up to it exactly (largest remainder method).

    What rounding leaves goes, one unit each, to the parts with the largest remainders; earlier parts first when these
    are equal. With weights that are all zero the first part takes everything. No part exceeds its weight when
    `total` does not exceed the sum of the weights.
    """
    if not weights:
        if total:
            raise ValueError("nothing to spread over")
        return []
    whole = sum(weights)
    if whole == 0:
        return [total, *([0] * (len(weights) - 1))]
    sign = -1 if total < 0 else 1
    shares = [divmod(abs(total) * weight, whole) for weight in weights]
    left = abs(total) - sum(floor for floor, _ in shares)
    largest = sorted(range(len(weights)), key=lambda index: -shares[index][1])[:left]
    parts = [floor for floor, _ in shares]
    for index in largest:
        parts[index] += 1
    return [sign * part for part in parts]


def format_money(amount_minor: int, currency: str) -> str:
    """For people: `1250 EUR` reads `12.50 EUR`."""
    digits = exponent(currency)
    if digits == 0:
        return f"{amount_minor} {currency}"
    sign = "-" if amount_minor < 0 else ""
    units, rest = divmod(abs(amount_minor), 10**digits)
    return f"{sign}{units}.{rest:0{digits}} {currency}"
