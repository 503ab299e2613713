"""Where a webhook may go: a URL from a file must not make the notifier knock on doors inside.

Checked twice. The settings refuse what can be seen in the URL. At connect time every single address is checked again,
after the name was resolved and just before the socket connects, so a name that changes its mind, or a notation that
nobody thought of, gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Any

from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_NUMBER = re.compile(r"\d+|0[xX][0-9a-fA-F]*")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The address is not one that this webhook may use."""


def allowed(address: Address, *, allow_private: bool) -> bool:
    """Whether to connect there.

    Only public addresses; with `allow_private` also loopback and private ones. Never link-local (the metadata service
    of clouds), multicast, unspecified or reserved ones. An IPv4 address inside an IPv6 one counts as that address.

    >>> allowed(ipaddress.ip_address("::ffff:127.0.0.1"), allow_private=False)
    False
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return allowed(inner, allow_private=allow_private)
    # ::1 lies in a block that is otherwise reserved.
    if address.is_loopback:
        return allow_private
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return allow_private
    return address.is_global or allow_private


def check_url(text: str, *, allow_private: bool) -> URL:
    """A webhook's URL, understood as the client will understand it. Raises ValueError, without the URL in it.

    Names are not resolved here; `localhost` is known without.
    """
    # Some parsers drop these silently, others do not.
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError("no blanks, control characters or backslashes in a URL")
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError("not a URL") from error
    if url.scheme not in ("https", "http") or not url.raw_host:
        raise ValueError("a webhook's URL is https://host/path")
    if url.raw_user is not None or url.raw_password is not None or "@" in _authority(text):
        raise ValueError("no user or password in the URL: the signature says who sent it")
    if url.raw_fragment:
        raise ValueError("no #fragment in the URL: it would not be sent")
    if url.port == 0:
        raise ValueError("port 0 is none")
    if url.scheme == "http" and not allow_private:
        raise ValueError(
            "http:// is readable on the way: use https://, or set allow_private = true for a receiver inside"
        )
    _check_host(url.raw_host, allow_private)
    return url


def _authority(text: str) -> str:
    return re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]


def _check_host(host: str, allow_private: bool) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".").lower()
        if not _HOST.fullmatch(name):
            raise ValueError("the host has characters that no name has") from None
        # 2130706433, 0x7f.1, 127.1 and 0177.0.0.1 are all 127.0.0.1 to some.
        if _NUMBER.fullmatch(name.rpartition(".")[2]):
            raise ValueError("write the address as four decimal numbers, like 203.0.113.7") from None
        if not allow_private and (name == "localhost" or name.endswith(".localhost")):
            raise ValueError(_REFUSED) from None
        return
    if not allowed(address, allow_private=allow_private):
        raise ValueError("nobody receives webhooks at such an address" if allow_private else _REFUSED)


_REFUSED = "the host is this machine or inside a private network: set allow_private = true if that is meant"


def guarded_socket(*, allow_private: bool) -> Callable[[Any], socket.socket]:
    """A factory of sockets for aiohttp's connector, which calls it with each address before it connects."""

    def make(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, proto, _, where = info
        # A scope (fe80::1%eth0) is no part of the address.
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if not allowed(address, allow_private=allow_private):
            raise ForbiddenAddressError("the address is not public, and allow_private is not set")
        return socket.socket(family, kind, proto)

    return make
