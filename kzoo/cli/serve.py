"""``kzoo serve``: runs a bundle on this machine."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from kzoo.cli.output import duration, say
from kzoo.errors import UserError

Runner = Literal["auto", "tensorflow_model_server", "docker", "embedded"]  # as in kzoo.serving.launch


def serve(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A folder that `kzoo bundle` wrote.")],
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="REST and metrics; 0 takes a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC; 0 takes a free one.")] = 8500,
    runner: Annotated[
        Runner, typer.Option(metavar="NAME", help="auto, tensorflow_model_server, docker or embedded.")
    ] = "auto",
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until every model must answer.")] = 600.0,
    certificate: Annotated[str, typer.Option(metavar="PATH", help="Speak TLS: the PEM certificate to show.")] = "",
    key: Annotated[str, typer.Option(metavar="PATH", help="Its private key, PEM, without a passphrase.")] = "",
) -> None:
    """Serve a bundle until Ctrl-C.

    Takes the real tensorflow_model_server when it is installed, Docker when asked (--runner docker), else kzoo's own
    embedded server, which speaks the same REST and gRPC, for laptops and tests. The first line says which. With
    --certificate and --key gRPC speaks TLS, and REST too where the server is kzoo's own; TensorFlow Serving has no TLS
    over REST.

    \b
    Examples:
      kzoo serve bundles/reviews
      kzoo serve bundles/reviews --rest-port 0 --grpc-port 0
      kzoo query localhost:8501 --model reviews "A film to remember."
    """
    start = time.perf_counter()
    from kzoo.serving.launch import serve as start_server

    if bool(certificate) != bool(key):
        raise UserError("--certificate and --key belong together. Received one of them.")
    tls = None
    if certificate:
        from kzoo.serving.tls import read

        tls = read(certificate, key)
    with start_server(
        bundle, rest_port=rest_port, grpc_port=grpc_port, runner=runner, host=host, timeout=timeout, tls=tls, say=say
    ) as served:
        say(f"Ready after {duration(time.perf_counter() - start)}. Ctrl-C stops.")
        address = served.rest_address.removeprefix("http://")  # https:// stays
        trusted = f" --ca {certificate}" if served.rest_address.startswith("https") else ""
        say(f'Ask it from another terminal: kzoo query {address}{trusted} --model {served.models[0]} "A text."')
        served.wait()
        say("Stopping ...")
    say("Stopped.")
