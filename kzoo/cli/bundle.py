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
        list[str], typer.Argument(metavar="NAME=EXPORT", help="Exports, with the names to serve them under.")
    ],
    version: Annotated[
        int | None, typer.Option(min=1, help="The number of the added versions; by default the next of each model.")
    ] = None,
) -> None:
    """Put exports into a bundle for TensorFlow Serving.

    The bundle holds the models in version folders, models.config, batching and monitoring configs, warm-up requests,
    a compose file, and a README with curl lines that work. It moves as a folder. A bundle that is there already gets
    the exports as further models, or as the next versions of those it has. The path is printed on standard output.

    \b
    Examples:
      kzoo bundle bundles/reviews reviews=exports/reviews
      kzoo bundle bundles/two reviews=exports/reviews minilm=exports/minilm
    """
    from kzoo.serving.bundle import bundle as write_bundle
    from kzoo.serving.bundle import versions

    exports = named(models)
    path = write_bundle(exports, Path(directory), version=version)
    for name in exports:
        say(f"{path} holds {name}, version {versions(path, name)[-1]}.")
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
