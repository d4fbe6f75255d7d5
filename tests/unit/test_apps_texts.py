"""What texts may hold: the pattern in the API reference and the check say the same."""

import re
import sys
import unicodedata
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.apps.http import texts

GOOD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "name": (texts.Name, ("Ada", " Ada", "Ada Lovelace", "Zoë 名 😀", "e\u0301", "x" * 100)),
    "email": (texts.Email, ("ada@shop.example", "a+b@x.y", "adä@bücher.example", "a'b@x.y.z")),
    "url": (
        texts.Url,
        (
            "https://shop.example",
            "https://shop.example:65535/hook?a=[b]&c='d'",
            "https://xn--bcher-kva.example/",
            "https://[2606:4700:4700::1111]:8443/a",
            "https://a--b.example?c",
        ),
    ),
    "redirect uri": (
        texts.RedirectUri,
        ("https://shop.example/in?a=b", "http://localhost:8000/in", "http://127.0.0.1/in", "http://[::1]:8000/in"),
    ),
}
BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "name": (
        texts.Name,
        ("", " ", "a\n", "a\tb", "a\u202eb", "a\u200bb", "a\u00a0b", "\ufeffa", "a\U000e0041", "x" * 101),
    ),
    "email": (
        texts.Email,
        (
            "ada",
            "@x.y",
            "a@xy",
            "a@@x.y",
            "a@x.",
            "a b@x.y",
            "a@x.y,b@x.y",
            "<a@x.y>",
            'a"@x.y',
            "a\\@x.y",
            "a\u200b@x.y",
        ),
    ),
    "url": (
        texts.Url,
        (
            "",
            "https://",
            "https://a@shop.example/",
            "https://shop.example/#a",
            "https://shop.example:0/",
            "https://shop.example:65536/",
            "https://shop..example/",
            "https://-shop.example/",
            "https://shop.example\\@evil.example/",
            "https://bücher.example/",
            "https://shop.example/a b",
            "https://shop.example/\n",
            "ftp://shop.example/",
            "https://shop.example/" + "a" * 2_000,
        ),
    ),
    "redirect uri": (texts.RedirectUri, ("https://shop.example/" + "a" * 500, "javascript:alert(1)", "https://a@b/")),
}


def accepted(kind: Any, text: str) -> bool:
    return takes(TypeAdapter(kind), text)


def takes(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


def fits(kind: Any, text: str) -> bool:
    """Whether the reference says that it will be accepted."""
    schema = TypeAdapter(kind).json_schema()
    within = schema.get("minLength", 0) <= len(text) <= schema["maxLength"]
    return within and re.search(schema["pattern"], text) is not None


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, all_of in GOOD.values() for text in all_of])
def test_what_is_accepted_fits_the_reference(kind: Any, text: str) -> None:
    assert accepted(kind, text)
    assert fits(kind, text)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, all_of in BAD.values() for text in all_of])
def test_what_is_refused_does_not_fit_it(kind: Any, text: str) -> None:
    assert not accepted(kind, text)
    assert not fits(kind, text) or text.endswith("\n")  # Python's `$` is also before a last line break.


def test_nothing_that_is_shown_is_invisible() -> None:
    """Of all characters that this Python knows; those to which Unicode has given no meaning show as a box."""
    known = (chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF)
    unseen = [char for char in known if not char.isprintable() and unicodedata.category(char) not in ("Cn", "Co")]
    assert len(unseen) > 100
    name: TypeAdapter[str] = TypeAdapter(texts.Name)
    assert not [hex(ord(char)) for char in unseen if takes(name, f"a{char}b")]


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(ValidationError, match="must be visible, without line breaks"):
        TypeAdapter(texts.Name).validate_python("a\nb")


def test_plain_http_is_left_to_those_who_know_where_it_is_allowed() -> None:
    assert accepted(texts.Url, "http://127.0.0.1:9/nobody")
    assert not fits(texts.Url, "http://127.0.0.1:9/nobody")
