"""A bundle whose server speaks TLS: certificate and key beside it, a proxy before REST, a compose file for both."""

from pathlib import Path
from string import Template

from kzoo import resources
from kzoo.serving import bundle as bundles
from kzoo.serving import tls
from kzoo.serving.launch import container_flags
from kzoo.serving.placing import write_text

COMPOSE = "compose.tls.yaml"
FOLDER = "tls"
PROXY = "nginx.conf"


def secure(directory: Path | str, given: tls.Certificate) -> None:
    """Puts certificate and key into a bundle, and what runs it with them; an older certificate is replaced.

    Writes ``tls/`` (which its owner alone may enter) and ``compose.tls.yaml``. A proxy's settings that a person has
    changed stay.
    """
    directory = Path(directory)
    bundles.read_models_config(directory)
    tls.write_folder(directory / FOLDER, given)
    source = resources.find("serving", "bundle", FOLDER, PROXY)
    if not (directory / FOLDER / PROXY).exists():
        write_text(directory / FOLDER / PROXY, source.read_text(encoding="utf-8"))
    flags = container_flags(directory)
    template = resources.find("serving", "bundle", COMPOSE).read_text(encoding="utf-8")
    command = "\n".join(f"      - {flag}" for flag in flags)
    write_text(directory / COMPOSE, Template(template).substitute(command=command))
