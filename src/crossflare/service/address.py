"""The address of the service: taken before any library or model is loaded, so that a mistake shows at once."""

import errno
import ipaddress
import socket
import sys

from crossflare.errors import UserError
from crossflare.service.keys import Keys


def take_address(host: str, port: int, keys: Keys) -> socket.socket:
    """Return a socket bound to an address; it does not listen yet.

    Raises:
        UserError: The address is not of this machine alone and there is no key, or it cannot be taken.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address on this machine; give 127.0.0.1 or another one") from error
    if not keys and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UserError(f"--host {host} can be reached from other machines; give keys with --key-file, or 127.0.0.1")
    taken = socket.socket(family, kind, proto)
    if sys.platform != "win32":  # there it would let two services share a port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise not_taken(host, port, error) from error
    return taken


def not_taken(host: str, port: int, error: OSError) -> UserError:
    """Return the error for an address that cannot be taken."""
    used = error.errno == errno.EADDRINUSE
    why = "is in use" if used else f"cannot be taken ({error.strerror})"
    return UserError(f"port {port} on {host} {why}; give another with --port")
