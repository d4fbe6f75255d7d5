"""Text search: the words of an order or a query, folded so that `Café` finds `cafe`, each marked with its tenant."""

import re
import unicodedata
import zlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

_WORD = re.compile(r"[^\W_]+")
_LONGEST_WORD = 40
_MOST_WORDS = 300
_MOST_QUERY_WORDS = 10


def words_of(text: str) -> list[str]:
    """Lower-case words without accents, in order."""
    plain = text if text.isascii() else _without_accents(text)
    return [word[:_LONGEST_WORD] for word in _WORD.findall(plain.casefold())]


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@lru_cache(maxsize=10_000)
def tenant_mark(merchant_id: str, environment: str) -> str:
    """A short mark; two tenants may share one, because results are filtered by tenant as well."""
    return format(zlib.crc32(f"{merchant_id}:{environment}".encode()), "08x")


def lexemes(texts: Iterable[str | None], mark: str) -> list[str]:
    """What is indexed for these texts, each word once, sorted: of very many words the first."""
    found = dict.fromkeys(words_of(" ".join(filter(None, texts))))
    return sorted(f"{mark}:{word}" for word in islice(found, _MOST_WORDS))


def query_of(text: str, *marks: str) -> str | None:
    """A tsquery that wants a word that starts with each of the given ones, all with one of the marks; `None` when there
    is no word in it."""
    words = words_of(text)[:_MOST_QUERY_WORDS]
    return " | ".join(" & ".join(f"'{mark}:{word}':*" for word in words) for mark in marks) if words else None
