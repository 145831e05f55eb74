"""A place to listen at, taken before a model is loaded: a port that is in use is told at once."""

from __future__ import annotations

import errno
import ipaddress
import socket

from flyweight.base import UserError

LOOPBACK = "127.0.0.1"


class Place:
    """An address and a port of this machine, taken."""

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        """Take `port` of `host`; 0: any that is free.

        Raises:
            UserError: that cannot be done.
        """
        if not 0 <= port <= 65535:
            raise UserError(f"--port is {port}; expected a number from 0 (any that is free) to 65535.")
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self.socket = socket.socket(family, kind)
        except (OSError, UnicodeError) as error:
            raise UserError(_sentence(host, port, error)) from None
        try:
            # A port that was used a moment ago can be taken again.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(address)
            self.socket.listen(16)
        except OSError as error:
            self.socket.close()
            raise UserError(_sentence(host, port, error)) from None
        self.host = host

    @property
    def address(self) -> tuple[str, int]:
        """In digits, and the port."""
        name = self.socket.getsockname()
        return str(name[0]), int(name[1])

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.address[0]).is_loopback

    @property
    def names(self) -> frozenset[str]:
        """What a browser may call it, beside addresses in digits; in lower case."""
        names = {self.host.lower(), "localhost"}
        if not self.loopback:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return frozenset(names)

    @property
    def url(self) -> str:
        """Where a browser of this machine finds it."""
        host, port = self.address
        shown = "localhost" if ipaddress.ip_address(host).is_unspecified else host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def _sentence(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"--port {port}: another program listens there already; name another, or 0 for any that is free."
        )
    if number == errno.EACCES:
        return f"--port {port}: this port is reserved for the system's administrator; name one from 1024 on."
    return f"--host {host}: this machine cannot listen there ({getattr(error, 'strerror', None) or error})."
