"""Whether the ports a server wants are free."""

import contextlib
import socket

from kzoo.errors import UserError


def check_ports(host: str, *, rest_port: int, grpc_port: int) -> tuple[int, int]:
    """The two ports, a free one in place of each 0. UserError names the port that is taken, and the remedy."""
    if rest_port == grpc_port != 0:
        raise UserError(f"REST and gRPC need a port each. Received {rest_port} for both.")
    with contextlib.ExitStack() as held:
        rest = _free(held, host, rest_port, "REST", "--rest-port")
        grpc = _free(held, host, grpc_port, "gRPC", "--grpc-port")
    return rest, grpc


def _free(held: contextlib.ExitStack, host: str, port: int, use: str, option: str) -> int:
    if not 0 <= port <= 65535:
        raise UserError(f"A port lies between 1 and 65535 (0 takes a free one). Received {port} for {use}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"{host!r} is not an address of this machine: {error.strerror}.") from None
    one = held.enter_context(socket.socket(family, kind, protocol))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(address)
    except PermissionError:
        raise UserError(
            f"Port {port} ({use}) is kept for the administrator. Choose one above 1023 with {option}."
        ) from None
    except OSError as error:
        raise UserError(
            f"Port {port} of {host} ({use}) cannot be had: {error.strerror}. "
            f"Choose another with {option}, or stop the program that holds it."
        ) from None
    return one.getsockname()[1]
