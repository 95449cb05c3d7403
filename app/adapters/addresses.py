"""Which outside addresses may be asked at all: the rules of the guarded fetcher, without a network (I18, T9)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from app.ports import FetchRefused

if TYPE_CHECKING:
    from yarl import URL

FAL_RESULT_HOSTS = ("v3.fal.media", "v3b.fal.media", "*.fal.media")

_LONGEST_URL = 4096
_NAME = re.compile(r"(?=.{4,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_NEVER_PUBLIC = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".test", ".invalid", ".onion")

# What `ipaddress` calls global depends on the version of Python; these do not. Some are global and still not public.
_DENIED_V4 = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # Azure's host agent answers here, on every machine
        ),
    )
)
# Only global unicast is let through. That leaves out ::/96, mapped and translated forms (64:ff9b::/96, 64:ff9b:1::/48),
# fc00::/7, fe80::/10, fec0::/10, 5f00::/16 and ff00::/8; inside it, these carry an IPv4 address or nothing public.
_UNICAST_V6 = ip_network("2000::/3")
_DENIED_V6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port, exactly."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: URL) -> Origin:
        return cls(url.scheme, url.raw_host or "", url.port or 0)


@dataclass(frozen=True)
class Policy:
    """`result_hosts` may deliver results; so may `result_origin`, wherever it is. Users may name any public host."""

    result_hosts: Collection[str] = FAL_RESULT_HOSTS
    result_origin: Origin | None = None

    def judge(self, url: URL, purpose: str) -> None:
        """Raise `FetchRefused` unless the URL may be asked, as far as one can tell without looking up its name."""
        if purpose == "result" and self.is_result_origin(url):
            return
        host = url.raw_host or ""
        if purpose == "result" and not any(_matches(host, pattern) for pattern in self.result_hosts):
            raise FetchRefused(f"Results are not taken from {url.raw_authority.rpartition('@')[2]}: that is not fal.")
        _judge_form(url)

    def is_result_origin(self, url: URL) -> bool:
        return Origin.of(url) == self.result_origin and url.raw_user is None and url.raw_password is None


def parsed(text: str) -> URL:
    """The only parser of outside addresses: the connection is made from the very object that was judged."""
    from yarl import URL

    if len(text) > _LONGEST_URL or not text.isprintable() or any(c in text for c in " \\"):
        raise FetchRefused("This is not a URL.")
    try:
        url = URL(text)
        url.port  # noqa: B018 - parsed on demand
    except ValueError:
        raise FetchRefused("This is not a URL.") from None
    return url.with_fragment(None)


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet may be at."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _DENIED_V4)
    return ip.scope_id is None and ip in _UNICAST_V6 and not any(ip in network for network in _DENIED_V6)


def _judge_form(url: URL) -> None:
    if url.scheme != "https":
        raise FetchRefused("Only https addresses are fetched.")
    if url.raw_user is not None or url.raw_password is not None or "@" in url.raw_authority:
        raise FetchRefused("An address with a user name or password in it is not fetched.")
    if url.port != 443:
        raise FetchRefused("Only port 443 is asked.")
    _judge_host(url.raw_host or "")


def _judge_host(host: str) -> None:
    if ":" in host or host.replace(".", "").isdigit():
        if not is_public(host):
            raise FetchRefused(UNREACHABLE)
    elif not _NAME.fullmatch(host.removesuffix(".")) or host.removesuffix(".").endswith(_NEVER_PUBLIC):
        raise FetchRefused(UNREACHABLE)


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


UNREACHABLE = "No public server could be reached at this address."
"""One text for an address that is refused, closed, filtered or unknown, so that nobody maps our network with it."""
