"""A folder that TensorFlow Serving runs as it is: models by version, configs, a compose file, a README that is true.

    BUNDLE/models/NAME/VERSION/   SavedModels
    BUNDLE/models.config          which models, by their paths in the container (/models/NAME)
    BUNDLE/batching.config, monitoring.config, compose.yaml, clients/, prometheus/, README.md
    BUNDLE/history.json           where labels have pointed (kzoo promote, kzoo rollback)
    BUNDLE/kubernetes/, tls/      when asked for

A bundle that exists gets further models and versions; what a person changed in its configs stays.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from kzoo import resources
from kzoo.errors import UserError
from kzoo.serving import batching, instructions, protos, saved_model
from kzoo.serving.placing import INCOMING, placed, space_needed, write_text
from kzoo.serving.policies import loaded, set_policy, with_room
from kzoo.version import __version__

IMAGE = "tensorflow/serving:2.19.1"
CONTAINER = "/models"  # where the container sees the folder models/

MODELS = "models"
MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"
COMPOSE = "compose.yaml"
README = "README.md"
CLIENTS = "clients"
PROMETHEUS = "prometheus"
REMOVED = ".removed"  # in the names of versions that are being removed
MODELS_COMMENT = "The models that the server loads (ModelServerConfig, text format), by their paths in the container."

_XLA = """\
      # signatures whose name ends in _xla are compiled at their first call, and faster from then on; without this flag
      # the server refuses them ("XLA compilation disabled"). The others are not touched by it
      - --xla_cpu_compilation_enabled=true
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def bundle(
    models: Mapping[str, Any],
    directory: Path | str,
    *,
    version: int | None = None,
    image: str = IMAGE,
    policies: Mapping[str, str] | None = None,
    keep: int | None = None,
) -> Path:
    """Writes a bundle, or adds to one.

    Args:
        models: name in the server's URLs to a SavedModel's path, or to a task, which is exported.
        directory: the bundle's folder; a new one appears whole or not at all.
        version: number of the versions to be added; by default the next of each model.
        image: TensorFlow Serving's container image, 2.19 or later, for a new bundle's compose file.
        policies: name of a model to which of its versions a server loads: ``latest:N``, ``all`` or ``specific:N,M``.
        keep: versions to keep of each of these models, the newest; older ones are removed. One that has a label, that
            a rollback would go to, or that the policy has a server load stays in any case.

    Returns:
        The path of the bundle.

    Raises:
        UserError: not a SavedModel, a name or version that cannot be, a folder that is no bundle, no space left.
    """
    directory = Path(directory)
    if keep is not None and keep < 1:
        raise UserError(f"At least one version of a model is kept. Received {keep}.")
    with space_needed(directory):
        if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
            _check(models, version)
            with placed(directory) as aside:
                _fill(aside, models, version, image)
                _set_policies(aside, policies or {})
        else:
            read_models_config(directory)  # a folder that is no bundle is refused before anything is copied
            if models:
                _check(models, version)
            with locked(directory):
                _fill(directory, models, version, image)
                _set_policies(directory, policies or {})
                if keep is not None:
                    for name in models or [one.name for one in read_models_config(directory).model_config_list.config]:
                        remove_old(directory, name, keep)
    return directory


def remove_old(directory: Path, name: str, keep: int) -> list[int]:
    """Removes a model's old versions but for ``keep``; returns the removed ones. See ``bundle``."""
    from kzoo.serving.label_history import History

    known = versions(directory, name)
    (entry,) = [one for one in read_models_config(directory).model_config_list.config if one.name == name]
    history = History.read(directory)
    held = {*known[-keep:], *entry.version_labels.values(), *loaded(entry, known)}
    held |= {history.former(name, label, version) for label, version in entry.version_labels.items()}
    if history.pending is not None and history.pending.model == name:
        held |= {history.pending.source, history.pending.target}
    removed = [version for version in known if version not in held]
    for version in removed:
        folder = directory / MODELS / name / str(version)
        aside = folder.parent / f".{version}{REMOVED}"
        folder.rename(aside)  # at once, as a server sees it
        shutil.rmtree(aside, ignore_errors=True)
    return removed


def _set_policies(directory: Path, words: Mapping[str, str]) -> None:
    config = read_models_config(directory)
    known = {one.name: one for one in config.model_config_list.config}
    for name, word in words.items():
        if name not in known:
            raise UserError(f"{directory} has no model {name!r}. It has {', '.join(known)}.")
        set_policy(known[name], word, versions(directory, name))
    if words:
        protos.write(directory / MODELS_CONFIG, config, comment=MODELS_COMMENT)


def read_models_config(directory: Path | str) -> Any:
    """The bundle's ``ModelServerConfig``. UserError where the folder is no bundle or the file does not parse."""
    directory = Path(directory)
    path = directory / MODELS_CONFIG
    if not directory.exists():
        raise UserError(f"There is no bundle at {directory}: it does not exist. Write one with kzoo bundle.")
    if not path.is_file():
        raise UserError(f"{directory} is not a bundle: it has no {MODELS_CONFIG}. Write one with kzoo bundle.")
    config = protos.read(path, protos.ModelServerConfig)
    protos.check_model_config(config, where=str(path))
    foreign = [one.base_path for one in config.model_config_list.config if one.base_path != f"{CONTAINER}/{one.name}"]
    if foreign or not (directory / MODELS).is_dir():
        received = ", ".join(foreign) or f"no folder {MODELS}/ beside it"
        raise UserError(
            f"{path} is not a bundle's: each base_path must be {CONTAINER}/NAME, as the container sees the folder "
            f"{MODELS}/. Received {received}."
        )
    return config


def versions(directory: Path | str, name: str) -> list[int]:
    """The numbers of a model's versions in a bundle, lowest first."""
    folder = Path(directory) / MODELS / name
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if child.name.isdigit() and child.is_dir())


def has_labels(directory: Path | str, name: str) -> bool:
    """Whether a model has labels, by which clients ask for it."""
    return any(one.version_labels for one in read_models_config(directory).model_config_list.config if one.name == name)


def has_compiled(directory: Path | str) -> bool:
    """Whether a version in the bundle has signatures that a server must compile, and so needs its XLA flag for."""
    models = Path(directory) / MODELS
    descriptions = (
        saved_model.description(models / one.name / str(version))
        for one in read_models_config(directory).model_config_list.config
        for version in versions(directory, one.name)
    )
    return any(name.endswith(saved_model.COMPILED) for one in descriptions if one for name in one["signatures"])


def _check(models: Mapping[str, Any], version: int | None) -> None:
    if not models:
        raise UserError("A bundle needs a model: name one, as in NAME=SAVED_MODEL.")
    if version is not None and version < 1:
        raise UserError(f"A version must be a whole number from 1. Received {version}.")
    for name, source in models.items():
        if not _NAME.fullmatch(name):
            raise UserError(
                f"A model's name stands in URLs and is a folder: letters, digits, '_', '-' and '.' only, the first a "
                f"letter or digit. Received {name!r}."
            )
        if not _is_task(source):
            saved_model.check(source)
            if saved_model.description(source) is None:  # what kzoo wrote was audited when it was written
                from kzoo.serving import audit

                audit.refuse(source)


def _is_task(source: Any) -> bool:
    return hasattr(source, "signatures")


def _fill(directory: Path, models: Mapping[str, Any], version: int | None, image: str) -> None:
    """Copies all models aside, then renames them, then says so in the configs: what fails before leaves no trace."""
    with contextlib.ExitStack() as copies:
        for name, source in models.items():
            folder = directory / MODELS / name
            _remove_leftovers(folder)
            aside = copies.enter_context(placed(folder / str(_number(directory, name, version))))
            if _is_task(source):
                from kzoo.serving.export import export

                export(source, aside)
            else:
                _copy(Path(source), aside)
            batching.complete(aside)
            saved_model.warm_up_compiled(aside)
        _keep_labelled(directory, models, version)
    _write_configs(directory, models, image)
    _write_readme(directory)


def _keep_labelled(directory: Path, models: Mapping[str, Any], version: int | None) -> None:
    """Lists the versions with a label where a policy of the newest ones would let them go for those that come."""
    path = directory / MODELS_CONFIG
    if not path.exists():
        return
    config = read_models_config(directory)
    is_changed = False
    for one in config.model_config_list.config:
        if one.name in models:
            number = _number(directory, one.name, version)
            kept = with_room(one, number, versions(directory, one.name))
            is_changed = is_changed or kept != one
            one.CopyFrom(kept)
    if is_changed:
        protos.write(path, config, comment=MODELS_COMMENT)


def _copy(source: Path, target: Path) -> None:
    """Copies what a folder holds into another, up to the first error (``shutil.copytree`` goes on after one)."""
    for path in sorted(source.rglob("*")):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(parents=True, exist_ok=True)
        else:
            shutil.copyfile(path, target / path.relative_to(source))


def _number(directory: Path, name: str, version: int | None) -> int:
    known = versions(directory, name)
    if version is None:
        return max(known, default=0) + 1
    if version in known:
        raise UserError(
            f"{directory} has version {version} of {name} already, and versions never change: a server would not "
            f"notice. Leave the number out for the next one, {known[-1] + 1}."
        )
    return version


def _remove_leftovers(folder: Path) -> None:
    """What a killed copy or a killed removal left."""
    for leftover in [*folder.glob(f".*{INCOMING}*"), *folder.glob(f".*{REMOVED}")]:
        shutil.rmtree(leftover, ignore_errors=True)


def _write_configs(directory: Path, models: Mapping[str, Any], image: str) -> None:
    path = directory / MODELS_CONFIG
    config = protos.read(path, protos.ModelServerConfig) if path.exists() else protos.ModelServerConfig()
    known = {one.name for one in config.model_config_list.config}
    for name in models:
        if name not in known:
            config.model_config_list.config.add(name=name, base_path=f"{CONTAINER}/{name}", model_platform="tensorflow")
    if not known.issuperset(models):
        protos.write(path, config, comment=MODELS_COMMENT)
    for file in (BATCHING_CONFIG, MONITORING_CONFIG, COMPOSE):
        if not (directory / file).exists():
            template = resources.find("serving", "bundle", file).read_text(encoding="utf-8")
            write_text(directory / file, Template(template).substitute(image=image) if file == COMPOSE else template)
    _allow_compiled(directory)
    for folder, files in ((CLIENTS, "ask*"), (PROMETHEUS, "*.*")):
        if not (directory / folder).exists():
            with placed(directory / folder) as aside:
                for one in resources.find("serving", folder).glob(files):
                    shutil.copy(one, aside)
    read_models_config(directory)
    threads = directory / BATCHING_CONFIG
    protos.check_batching(protos.read(threads, protos.BatchingParameters), where=str(threads))
    protos.read(directory / MONITORING_CONFIG, protos.MonitoringConfig)


def _allow_compiled(directory: Path) -> None:
    """Adds the XLA flag to the compose file once a model needs it; a file that has other flags besides keeps them."""
    path = directory / COMPOSE
    text = path.read_text(encoding="utf-8")
    last = "      - --max_num_load_retries=0\n"
    if has_compiled(directory) and "--xla_cpu_compilation_enabled" not in text and last in text:
        write_text(path, text.replace(last, f"{last}{_XLA}"))


def _write_readme(directory: Path) -> None:
    names = [one.name for one in read_models_config(directory).model_config_list.config]
    newest = {name: versions(directory, name)[-1:] for name in names}
    described = {name: _describe(directory / MODELS / name / str(last[0])) for name, last in newest.items() if last}
    template = Template(resources.find("serving", "bundle", README).read_text(encoding="utf-8"))
    text = template.substitute(
        kzoo=__version__,
        models_table=instructions.table(described),
        status=instructions.status(names),
        questions="".join(instructions.questions(name, one) for name, one in described.items()),
    )
    write_text(directory / README, text)


def _describe(directory: Path) -> Mapping[str, Any]:
    return saved_model.description(directory) or {
        "signatures": saved_model.describe_signatures(saved_model.read(directory))
    }


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps a second writer out of a bundle that exists."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another kzoo is writing to {directory}. Wait until it is done.") from None
        yield
    finally:
        os.close(handle)
