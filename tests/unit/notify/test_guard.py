"""Where webhooks may go."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from ingest.contract.url_guard import ForbiddenAddressError, allowed, check_url, guarded_socket

PRIVATE = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fec0::1"]
NEVER = ["169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255", "240.0.0.1"]
PUBLIC = ["8.8.8.8", "203.0.112.7", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
# The same places, written inside other addresses: IPv4-mapped, 6to4, NAT64, IPv4-compatible, Teredo.
WRAPPED = ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::127.0.0.1", "2001:0:7f00::1"]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert allowed(ipaddress.ip_address(text), allow_private=False)


@pytest.mark.parametrize("text", [*PRIVATE, *NEVER, *WRAPPED])
def test_others_are_refused(text: str) -> None:
    assert not allowed(ipaddress.ip_address(text), allow_private=False)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_ones_are_allowed_on_request(text: str) -> None:
    assert allowed(ipaddress.ip_address(text), allow_private=True)


@pytest.mark.parametrize("text", [*NEVER, "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"])
def test_metadata_multicast_and_the_like_never(text: str) -> None:
    assert not allowed(ipaddress.ip_address(text), allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/services/T0/B0/token",
        "https://hooks.example.com.:8443/",
        "https://8.8.8.8/hook",
        "https://[2606:4700::1111]/hook",
        "https://bücher.example/hook",
        "https://7.example/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://１２７.0.0.1/",
        "https://%31%32%37.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://127.0.0.1:8080/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://user@hooks.example.com/",
        "https://user:geheim@hooks.example.com/",
        "https://:geheim@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/#token",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://exa mple.com/",
        "https://exa\nmple.com/",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https:///hook",
        "hooks.example.com",
        "",
    ],
)
def test_others_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        check_url(url, allow_private=False)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://localhost/", "https://[::1]:8443/", "http://10.1.1.1/"]
)
def test_receivers_inside_are_allowed_on_request(url: str) -> None:
    check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url", ["http://2130706433/", "http://169.254.169.254/", "http://u@127.0.0.1/", "http://0.0.0.0/"]
)
def test_but_not_in_every_form(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_url(url, allow_private=True)


def test_a_socket_is_made_only_for_an_allowed_address() -> None:
    make = guarded_socket(allow_private=False)
    with pytest.raises(ForbiddenAddressError):
        make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    with pytest.raises(ForbiddenAddressError):
        make((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("fe80::1%eth0", 80, 0, 2)))
    make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))).close()
