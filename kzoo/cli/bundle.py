"""``kzoo bundle``: a folder that TensorFlow Serving runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kzoo.cli.output import say
from kzoo.errors import UserError


def bundle(
    directory: Annotated[str, typer.Argument(metavar="DIRECTORY", help="The bundle's folder.")],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=EXPORT]...", help="Exports, by the names to serve them under.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="The number of the added versions; by default the next of each model.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=POLICY", help="Which versions a server loads: latest:N, all or specific:N,M."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Remove older versions, but none that a label or a rollback needs.")
    ] = None,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="Write Kubernetes manifests too.")] = False,
    certificate: Annotated[
        str, typer.Option(metavar="PATH", help="For TLS: the server's PEM certificate; it is copied.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="PATH", help="Its private key, PEM, without a passphrase.")] = "",
) -> None:
    """Put exports into a bundle for TensorFlow Serving.

    The bundle holds the models in version folders, models.config, batching and monitoring configs, warm-up requests,
    a compose file, and a README with curl lines that work. It moves as a folder. A bundle that is there already gets
    the exports as further models, or as the next versions of those it has; a version appears whole or not at all. The
    path is printed on standard output.

    \b
    Examples:
      kzoo bundle bundles/reviews reviews=exports/reviews
      kzoo bundle bundles/two reviews=exports/reviews minilm=exports/minilm
      kzoo bundle bundles/reviews reviews=exports/better --keep 3
      kzoo bundle bundles/reviews --policy reviews=latest:2 --kubernetes
    """
    from kzoo.serving.bundle import MODELS_CONFIG, has_compiled, has_labels, versions
    from kzoo.serving.bundle import bundle as write_bundle

    if bool(certificate) != bool(key):
        raise UserError("--certificate and --key belong together. Received one of them.")
    if not models and not (policy or keep or kubernetes or certificate):
        raise UserError("A bundle needs a model: name one, as in NAME=EXPORT.")
    exports = named(models or [])
    tls = None
    if certificate:
        from kzoo.serving.tls import read

        tls = read(certificate, key)
    is_plain = (Path(directory) / MODELS_CONFIG).is_file() and not has_compiled(directory)
    path = write_bundle(exports, Path(directory), version=version, policies=by_name(policy or []), keep=keep)
    for name in exports:
        say(f"{path} holds {name}, version {versions(path, name)[-1]}.")
    if is_plain and has_compiled(path):
        say("Its server needs --xla_cpu_compilation_enabled now: restart it, or it will not load the new version.")
    if kubernetes:
        from kzoo.serving.kubernetes import FOLDER, write

        written = write(path)
        say(f"Manifests: {', '.join(file.name for file in written) or 'all there already'} in {path / FOLDER}.")
    if tls is not None:
        from kzoo.serving.secured import secure

        secure(path, tls)
        say(f"TLS: docker compose -f compose.yaml -f compose.tls.yaml up. The key lies in {path / 'tls'}.")
    waiting = [name for name in exports if has_labels(path, name)]  # for one, where another version has it
    if waiting:
        say(f"Next: kzoo promote {path} {waiting[0]} {versions(path, waiting[0])[-1]}")
    else:
        say(f"Next: kzoo serve {path}")
    print(path)


def named(models: list[str]) -> dict[str, str]:
    """Returns exports by name from ``NAME=PATH`` or ``PATH`` (named after its folder)."""
    exports: dict[str, str] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals:
            name, path = model.rstrip("/").rpartition("/")[2], model
        if not name or not path:
            raise UserError(f"An export is given as NAME=PATH, as in reviews=exports/reviews. Received: {model!r}.")
        if name in exports:
            raise UserError(f"Two exports are named {name}. Give each its own name: other=PATH.")
        exports[name] = path
    return exports


def by_name(policies: list[str]) -> dict[str, str]:
    """Returns policies by the names of their models from ``NAME=POLICY``."""
    found = {}
    for one in policies:
        name, equals, word = one.partition("=")
        if not equals or not name:
            raise UserError(f"A policy is given as NAME=latest:2, NAME=all or NAME=specific:1,3. Received: {one!r}.")
        found[name] = word
    return found
