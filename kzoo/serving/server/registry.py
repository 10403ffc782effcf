"""Which models are served: the config, the state of every version, and the loads and unloads that follow from them.

As in the genuine server: a reload replaces the whole config; new versions are loaded before old ones are unloaded,
and an old one stays as long as nothing newer is available; a version's state stays known after its end; labels point
at versions that are available (or at any, where the server was told so) and are checked before anything is loaded.

Unlike there: a config that cannot work (a name twice, a relative path, a base path that is not there) leaves the old
one untouched in every part; a failed version is not tried five times a minute apart but again once its files change.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kzoo.serving.server import versions
from kzoo.serving.server.errors import Code, StatusError, invalid, status_of
from kzoo.serving.server.servable import Servable

logger = logging.getLogger("kzoo.serving")
Load = Callable[[str, int, str], Servable]


class State(enum.IntEnum):
    """A version's state, by the numbers of ``ModelVersionStatus``."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(slots=True)
class Version:
    """What is known of one version of a model."""

    path: str
    state: State = State.START
    error: StatusError | None = None
    servable: Servable | None = None
    fingerprint: tuple[int, ...] = ()


class Registry:
    """All models and versions of one server.

    ``load`` makes a servable of a model's name, a version and its folder. Requests read ``_available``, which is
    replaced and never changed, so that they need no lock.
    """

    def __init__(
        self,
        load: Load,
        *,
        labels_for_unavailable: bool = False,
        max_load_retries: int = 0,
        load_retry_seconds: float = 60.0,
        load_threads: int | None = None,
    ):
        self._load = load
        self._labels_for_unavailable = labels_for_unavailable
        self._max_load_retries = max_load_retries
        self._load_retry_seconds = load_retry_seconds
        self._load_threads = load_threads or min(4, os.cpu_count() or 1)
        self._config: dict[str, Any] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._available: Mapping[str, Mapping[int, Servable]] = {}
        self._changing = threading.Lock()  # one reload or poll at a time
        self._states = threading.Lock()
        self._stopping = threading.Event()
        self._unload_timeout: float | None = None

    # Requests

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The servable a request means: a version, a label's version, or the newest one available."""
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            version = self._labels.get(name, {}).get(label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        available = self._available.get(name, {})
        if version is None:
            if not available:
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
            return available[max(available)]
        if version not in available:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Specific({name}, {version})")
        return available[version]

    @contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """The servable a request means, kept loaded until the request is done."""
        servable = self.find(name, version, label)
        while not servable.acquire():  # retired between the two: whoever took its place is found already
            servable = self.find(name, version, label)
        try:
            yield servable
        finally:
            servable.release()

    def status(self, name: str, version: int | None = None) -> list[tuple[int, State, StatusError | None]]:
        """The state of one version or of all, newest first; a version stays known after its end."""
        with self._states:
            known = dict(self._versions.get(name, {}))
            if version is not None:
                if version not in known:
                    raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
                known = {version: known[version]}
            if not known:
                raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return [(number, known[number].state, known[number].error) for number in sorted(known, reverse=True)]

    def models(self) -> list[str]:
        """The names of the models in the config."""
        return sorted(self._config)

    def labels(self, name: str) -> dict[str, int]:
        """A model's labels."""
        return dict(self._labels.get(name, {}))

    def path(self, name: str, version: int) -> str:
        """The folder that a version was loaded from; empty for one that is not known."""
        with self._states:
            known = self._versions.get(name, {}).get(version)
            return known.path if known is not None else ""

    # Changes

    def reload(self, config: Any) -> None:
        """Serve what a ``ModelServerConfig`` says, and only that; returns when its new models are available.

        Raises ``StatusError``: before anything has changed when the config cannot work, afterwards when a new model
        failed to load.
        """
        with self._changing:
            models = _checked(config, self._config)
            labels = self._checked_labels(models)
            new = [name for name in models if name not in self._config]
            self._config, self._labels = models, labels
            self._apply()
            failed = self._unavailable(new)
            if failed:
                raise StatusError(
                    Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{', '.join(failed)}, }}"
                )

    def poll(self) -> None:
        """Look for versions that have come or gone, and load or unload them."""
        with self._changing:
            if not self._stopping.is_set():
                self._apply()

    def stop(self, timeout: float | None = None) -> None:
        """Unload everything, each version once its last request is done or ``timeout`` seconds have passed."""
        self._stopping.set()
        with self._changing:
            self._config, self._labels, self._unload_timeout = {}, {}, timeout
            self._apply()

    def _checked_labels(self, models: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        checked: dict[str, dict[str, int]] = {}
        for name, config in models.items():
            for label, version in config.version_labels.items():
                known = self._labels.get(name, {}).get(label)
                allowed = self._labels_for_unavailable and known in (None, version)
                if not allowed and version not in self._available.get(name, {}):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {name}, which is not currently "
                        "available for inference",
                    )
                checked.setdefault(name, {})[label] = version
        return checked

    def _apply(self) -> None:
        """Load what the config wants and is not there, then unload what it does not want."""
        wanted = {name: self._aspired(name, config) for name, config in self._config.items()}
        loads = [
            (name, version, path)
            for name, paths in wanted.items()
            for version, path in paths.items()
            if self._must_load(name, version, path)
        ]
        with self._states:
            for name, number, path in loads:
                self._versions.setdefault(name, {})[number] = Version(path)
        if len(loads) > 1:
            with ThreadPoolExecutor(self._load_threads, thread_name_prefix="kzoo-load") as pool:
                list(pool.map(lambda load: self._load_version(*load), loads))
        else:
            for load in loads:
                self._load_version(*load)
        for name in list(self._versions):
            self._unload_others(name, wanted.get(name, {}))

    def _aspired(self, name: str, config: Any) -> dict[int, str]:
        try:
            return versions.aspired(config)
        except OSError as error:
            # A base path out of reach for a moment (a network disk) must not unload what runs.
            logger.error("Could not find base path %s for servable %s: %s", config.base_path, name, error.strerror)
            known = self._versions.get(name, {})
            return {number: version.path for number, version in known.items() if version.state is State.AVAILABLE}

    def _must_load(self, name: str, number: int, path: str) -> bool:
        known = self._versions.get(name, {}).get(number)
        if known is None:
            return True
        if known.state is not State.END:
            return False  # also under another base path: a version is its number
        return known.error is None or known.path != path or known.fingerprint != versions.fingerprint(path)

    def _load_version(self, name: str, number: int, path: str) -> None:
        version = self._versions[name][number]
        with self._states:
            version.state, version.fingerprint = State.LOADING, versions.fingerprint(path)
        logger.info("Loading servable version {name: %s version: %d}", name, number)
        for retry in range(self._max_load_retries + 1):
            if retry and self._stopping.wait(self._load_retry_seconds):
                break
            try:
                servable = self._load(name, number, path)
            except Exception as error:
                version.error = status_of(error)
                logger.error("Loading {name: %s version: %d} failed: %s", name, number, version.error)
                continue
            version.error = None
            with self._states:
                version.servable, version.state = servable, State.AVAILABLE
                self._publish()
            logger.info("Successfully loaded servable version {name: %s version: %d}", name, number)
            return
        with self._states:
            version.state = State.END

    def _unload_others(self, name: str, wanted: Mapping[int, str]) -> None:
        known = self._versions[name]
        unwanted = [n for n, version in known.items() if version.state is State.AVAILABLE and n not in wanted]
        serves = any(number in wanted and known[number].state is State.AVAILABLE for number in known)
        if wanted and not serves:
            return  # availability first: what was asked for has not loaded
        for number in unwanted:
            self._unload_version(name, number)
        with self._states:
            for number in [n for n, v in known.items() if v.state is State.END and v.error and n not in wanted]:
                known[number].fingerprint = ()  # gone from disk or config: loaded again should it come back

    def _unload_version(self, name: str, number: int) -> None:
        version = self._versions[name][number]
        servable = version.servable
        with self._states:
            version.state, version.servable = State.UNLOADING, None
            self._publish()
        if servable is not None:
            servable.close(self._unload_timeout)
        with self._states:
            version.state = State.END
        logger.info("Done unloading servable version {name: %s version: %d}", name, number)

    def _publish(self) -> None:
        self._available = {
            name: {number: version.servable for number, version in known.items() if version.servable is not None}
            for name, known in self._versions.items()
        }

    def _unavailable(self, names: Iterable[str]) -> list[str]:
        """What is wrong with each of these models that has no version available."""
        failed = []
        for name in names:
            if self._available.get(name):
                continue
            errors = sorted((n, v.error) for n, v in self._versions.get(name, {}).items() if v.error is not None)
            if not errors:
                failed.append(f"{{{name}: no version folder under {self._config[name].base_path}}}")
            failed.extend(f"{{name: {name} version: {number}}} due to error: {error}" for number, error in errors)
        return failed


def _checked(config: Any, old: Mapping[str, Any]) -> dict[str, Any]:
    """The models of a ``ModelServerConfig`` by name; raises ``StatusError`` with the genuine server's text."""
    choice = config.WhichOneof("config")
    if choice == "custom_model_config":
        raise invalid("ModelServer does not yet support custom model config.")
    models: dict[str, Any] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        models[model.name] = model
    for name, model in models.items():
        if not os.path.isabs(model.base_path):
            raise invalid(f"Expected model {name} to have an absolute path or URI; got base_path()={model.base_path}")
        platform = _platform(model)
        if platform != "tensorflow":
            raise invalid(f"Model {name} requests unsupported platform {platform}")
    for name, model in models.items():
        moved = name not in old or old[name].base_path != model.base_path
        if moved and not os.path.isdir(model.base_path):
            raise invalid(
                f"Could not find base path {model.base_path} for servable {name} with error NOT_FOUND: "
                f"{model.base_path} not found"
            )
    return models


def _platform(model: Any) -> str:
    """A model's platform; the deprecated model_type 1 means TensorFlow too."""
    if model.model_type:
        if model.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != 1:
            raise invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return "tensorflow"
    if not model.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    return model.model_platform
