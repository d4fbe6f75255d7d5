"""Keys are told from other text, and kept only as hashes."""

import pytest

from shared.auth import hash_credential, looks_like_key, new_api_key
from shared.auth.keys import shown_prefix


@pytest.mark.parametrize("environment", ["test", "live"])
def test_a_new_key_looks_like_one_and_is_new(environment: str) -> None:
    keys = {new_api_key(environment) for _ in range(100)}  # type: ignore[arg-type]
    assert len(keys) == 100
    assert all(key.startswith(f"tl_{environment}_") and looks_like_key(key) for key in keys)
    assert {len(key) for key in keys} == {len("tl_test_") + 32 + 6}


def test_a_mistyped_key_does_not_look_like_one() -> None:
    key = new_api_key("test")
    for place in range(len("tl_test_"), len(key)):
        other = "a" if key[place] != "a" else "b"
        assert not looks_like_key(key[:place] + other + key[place + 1 :])


@pytest.mark.parametrize("text", ["", "tl_test_", "sk_test_" + "a" * 38, "tl_prod_" + "a" * 38, "tl_test_" + "ü" * 38])
def test_other_text_does_not_look_like_a_key(text: str) -> None:
    assert not looks_like_key(text)
    assert not looks_like_key(new_api_key("test") + "\n")


def test_the_checksum_stays_what_scanners_were_told() -> None:
    assert looks_like_key("tl_test_00000000000000000000000000000000" + "4P6jTQ")


def test_what_is_shown_of_a_key_leaves_most_of_it_unknown() -> None:
    key = new_api_key("live")
    assert shown_prefix(key) == key[: len("tl_live_") + 8]


def test_a_hash_is_the_sha256_of_the_key() -> None:
    assert hash_credential("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
