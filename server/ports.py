"""Ports of this machine: those that are taken, found before anything is started, and free ones."""

import socket

from server.errors import ServerError
from server.settings import LOOPBACK, PORT_OPTIONS, Settings


def require_free_ports(settings: Settings) -> None:
    """Raise ServerError that names the port and its option when one is taken."""
    for option in PORT_OPTIONS:
        host = settings.host if option.field == "port" else LOOPBACK
        port = getattr(settings, option.field)
        reason = why_not_bindable(host, port)
        if reason:
            raise ServerError(f"{host}:{port} cannot be used ({reason}); choose another with {option.flag}")


def why_not_bindable(host: str, port: int) -> str:
    """Return why nobody can listen at this address, or an empty text when one can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just closed does not count
        try:
            listener.bind((host, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind((LOOPBACK, 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
