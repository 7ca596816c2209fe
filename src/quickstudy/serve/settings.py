"""How a server is set up, and what it refuses to start with."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from quickstudy.core.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What one client may ask for; whatever is above is refused before it costs anything.

    Args:
        body: bytes of a request.
        pixels: of one image, as width × height.
        items: items in one request.
        queued: items that wait to be encoded, over all requests.
        batch: items that are encoded at once.
        deadline: seconds from a request's arrival to its answer.
        headers: seconds in which the head of a request must have arrived.
        rate: requests per second and client, on average; 0 = any number.
        burst: requests that a client may make at once.
    """

    body: int = 32_000_000
    pixels: int = 25_000_000
    items: int = 64
    queued: int = 512
    batch: int = 32
    deadline: float = 30.0
    headers: float = 10.0
    rate: float = 50.0
    burst: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name != "rate"):
                raise ConfigError(f"The limit {name} must be above 0, got {value}.")


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens and whom it answers.

    Args:
        host, port: where it listens.
        keys: the file of API keys; None = nobody needs one.
        tls_in_front: whether the operator says that something in front of it does TLS.
        names: further host names that it is called by.
        page: whether the web page is served.
        limits: of every client.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    tls_in_front: bool = False
    names: tuple[str, ...] = ()
    page: bool = True
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def check(self, *, galleries: int) -> None:
        """Refuse what would show templates of people to a network.

        Raises:
            ConfigError: for an address that others reach, without keys, or with a gallery and
                without TLS.
        """
        if self.is_local:
            return
        if self.keys is None:
            raise ConfigError(
                f"{self.host} can be reached by others, and without keys everybody may ask and "
                "change. Make a file of keys (quickstudy serve-key add KEYS NAME) and give it with "
                "--keys, or listen on 127.0.0.1."
            )
        if galleries and not self.tls_in_front:
            raise ConfigError(
                f"{galleries} galleries would be served on {self.host} without encryption, so keys "
                "and photos of people could be read on the way. Put a server with TLS in front and "
                "say so with --tls-in-front, or listen on 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
