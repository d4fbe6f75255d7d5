"""Which addresses may be connected to, however they are written."""

import pytest

from shared.outbound import is_public, is_public_or_local, refusal_of

PUBLIC = (
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "64:ff9b::101:101",
    "::ffff:8.8.8.8",
)

LOCAL = (
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fc00::1",
    "fd20:ce::254",  # the metadata service of a cloud, among private addresses
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.1.2.3",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
)

NEVER = (
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "0.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::7f00:1",
    "::169.254.169.254",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:0:7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:a9fe:a9fe::1",
    "2a00:1450::5efe:a9fe:a9fe",
    "3fff::1",
    "5f00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_may_be_connected_to(host: str) -> None:
    assert is_public(host)
    assert is_public_or_local(host)


@pytest.mark.parametrize("host", LOCAL)
def test_a_local_address_only_where_local_ones_are_allowed(host: str) -> None:
    assert not is_public(host)
    assert is_public_or_local(host)


@pytest.mark.parametrize("host", NEVER)
def test_what_is_neither_is_never_connected_to(host: str) -> None:
    assert not is_public(host)
    assert not is_public_or_local(host)


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("https://hooks.example.com/a?b=c", None),
        ("https://hooks.example.com:8443/a", None),
        ("https://1.1.1.1/", None),
        ("https://[2606:4700:4700::1111]/", None),
        ("http://hooks.example.com/", "must begin with https://"),
        ("ftp://hooks.example.com/", "must begin with https://"),
        ("hooks.example.com", "must begin with https://"),
        ("https://", "must name a host"),
        ("https://hooks.example.com:99999/", "must be a URL"),
        ("https://xn--a/", "must be a URL"),
        ("https://u:p@hooks.example.com/", "must have neither user, password nor fragment"),
        ("https://hooks.example.com/#a", "must have neither user, password nor fragment"),
        ("https://127.0.0.1/", "must be an address of the public internet"),
        ("https://[::ffff:169.254.169.254]/", "must be an address of the public internet"),
        ("https://hooks.example.com/" + "a" * 2_000, "must have at most 2000 characters"),
    ],
)
def test_a_url_is_refused_with_its_reason(url: str, refusal: str | None) -> None:
    assert refusal_of(url) == refusal


def test_for_development_local_addresses_and_http_will_do_but_not_the_metadata_service() -> None:
    assert refusal_of("http://127.0.0.1:8000/hook", local=True) is None
    assert refusal_of("http://localhost:8000/hook", local=True) is None
    assert refusal_of("http://169.254.169.254/latest", local=True) == "must be an address of the public internet"
