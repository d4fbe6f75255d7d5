"""Page tokens belong to the list and filters that they were made for."""

import base64
from collections.abc import Mapping

import pytest

from shared.http.pages import ListQuery, decode_page_token, encode_page_token
from shared.http.problems import Problem

POSITION = ("2026-11-21T10:00:00Z", "ord_01K")
FILTERS = {"merchant_id": "mer_1", "status": "open"}


class Orders(ListQuery):
    status: str | None = None


def refused(token: str, filters: Mapping[str, object]) -> bool:
    with pytest.raises(Problem) as raised:
        decode_page_token(token, filters)
    return (raised.value.code, raised.value.status, raised.value.param) == ("INVALID_PAGE_TOKEN", 400, "page_token")


def test_a_token_leads_back_to_its_position() -> None:
    token = encode_page_token(POSITION, FILTERS)
    assert decode_page_token(token, dict(reversed(FILTERS.items()))) == POSITION
    assert token.isascii()
    assert "=" not in token


@pytest.mark.parametrize("filters", [{}, {"merchant_id": "mer_2", "status": "open"}, {"merchant_id": "mer_1"}])
def test_a_token_of_other_filters_is_refused(filters: dict[str, object]) -> None:
    assert refused(encode_page_token(POSITION, FILTERS), filters)


@pytest.mark.parametrize(
    "token",
    ["", "x", "ord_01K", "ä", "====", "a b", "A" * 5_000, base64.urlsafe_b64encode(b"0" * 12 + b'["x"]').decode()],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token, FILTERS)


def test_every_edited_token_is_refused() -> None:
    token = encode_page_token(POSITION, FILTERS)
    for place, letter in enumerate(token):
        edited = token[:place] + ("A" if letter != "A" else "B") + token[place + 1 :]
        assert refused(edited, FILTERS), edited
    assert refused(token[:-4], FILTERS)


def test_a_list_binds_its_tokens_to_its_filters_only() -> None:
    first = Orders(status="open", page_size=5)
    token = encode_page_token(POSITION, first.filters())
    assert first.position() is None
    assert Orders(status="open", page_size=50, page_token=token).position() == POSITION
    with pytest.raises(Problem):
        Orders(status="paid", page_token=token).position()
