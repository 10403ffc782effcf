"""Which versions are served: configs, folders that come and go, labels, loads that fail. No TensorFlow here."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from kzoo.serving import protos
from kzoo.serving.server import versions
from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.registry import Registry, State


class Stand:
    """Stands for a loaded version."""

    def __init__(self, name, version):
        self.name, self.version = name, version
        self.closed = False
        self.busy = 0

    def acquire(self):
        self.busy += not self.closed
        return not self.closed

    def release(self):
        self.busy -= 1

    def close(self, timeout=None):
        self.closed = True


class Loads:
    """Makes stands, fails for folders that hold a file named ``broken``, and remembers what it was asked for."""

    def __init__(self):
        self.calls = []
        self.made = {}

    def __call__(self, name, version, path):
        self.calls.append((name, version))
        if Path(path, "broken").exists():
            raise invalid("it is broken")
        self.made[name, version] = Stand(name, version)
        return self.made[name, version]


@pytest.fixture
def loads():
    return Loads()


@pytest.fixture
def folder(tmp_path):
    def make(*names, model="m", broken=()):
        for name in names:
            (tmp_path / model / str(name)).mkdir(parents=True, exist_ok=True)
            (tmp_path / model / str(name) / "saved_model.pb").write_text("")
            if name in broken:
                (tmp_path / model / str(name) / "broken").touch()
        return tmp_path / model

    return make


def _config(*models):
    """From tuples of a name, a base path and what else the entry says."""
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {" ".join(more)} }}'
        for name, path, *more in models
    )
    return protos.parse_text(f"model_config_list {{ {entries} }}", protos.ModelServerConfig)


ALL = "model_version_policy { all {} }"


def _states(registry, name="m"):
    return {version: state.name for version, state, _ in registry.status(name)}


def _refusal(function, *arguments):
    with pytest.raises(StatusError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "policy, wanted",
    [
        ("", [10]),
        ("model_version_policy { latest { num_versions: 2 } }", [10, 9]),
        ("model_version_policy { latest { num_versions: 0 } }", [10]),
        (ALL, [10, 9, 2]),
        ("model_version_policy { specific { versions: 2 versions: 9 versions: 77 } }", [9, 2]),
        ("model_version_policy { specific { } }", []),
    ],
)
def test_the_policy_chooses_among_numbered_folders(folder, policy, wanted):
    base = folder("2", "9", "00010", "11.tmp", "x", "-3", "1e3")
    (base / "12").touch()  # a file is no version
    assert list(versions.aspired(_config(("m", base, policy)).model_config_list.config[0])) == wanted


def test_the_newest_available_answers_unless_one_is_named(loads, folder):
    registry = Registry(loads)
    registry.reload(_config(("m", folder(1, 2, 3), ALL)))
    assert registry.find("m").version == 3 and registry.find("m", 1).version == 1
    assert _refusal(registry.find, "m", 4) == "NOT_FOUND: Servable not found for request: Specific(m, 4)"
    assert _refusal(registry.find, "n") == "NOT_FOUND: Servable not found for request: Latest(n)"
    assert _refusal(registry.find, "") == "INVALID_ARGUMENT: ModelSpec has no name specified."
    assert [version for version, _, _ in registry.status("m")] == [3, 2, 1]
    assert _refusal(registry.status, "m", 9) == "NOT_FOUND: Could not find version 9 of model m"
    assert _refusal(registry.status, "n") == "NOT_FOUND: Could not find any versions of model n"


def test_versions_come_and_go_with_their_folders(loads, folder):
    registry = Registry(loads)
    base = folder(1)
    registry.reload(_config(("m", base)))
    folder(2)
    registry.poll()
    assert _states(registry) == {2: "AVAILABLE", 1: "END"} and loads.made["m", 1].closed
    shutil.rmtree(base / "2")
    registry.poll()
    assert registry.find("m").version == 1 and _states(registry) == {2: "END", 1: "AVAILABLE"}
    assert loads.calls == [("m", 1), ("m", 2), ("m", 1)]
    shutil.rmtree(base / "1")
    registry.poll()
    assert _states(registry) == {2: "END", 1: "END"}
    assert _refusal(registry.find, "m").startswith("NOT_FOUND")


def test_a_base_path_out_of_reach_unloads_nothing(loads, folder):
    registry = Registry(loads)
    base = folder(1)
    registry.reload(_config(("m", base)))
    base.rename(base.with_name("elsewhere"))
    registry.poll()
    assert registry.find("m").version == 1


def test_a_new_version_that_fails_leaves_the_old_one(loads, folder):
    registry = Registry(loads)
    base = folder(1)
    registry.reload(_config(("m", base)))
    folder(2, broken=[2])
    registry.poll()
    registry.poll()
    assert registry.find("m").version == 1
    assert registry.status("m")[0] == (2, State.END, registry.status("m")[0][2])
    assert str(registry.status("m")[0][2]) == "INVALID_ARGUMENT: it is broken"
    assert loads.calls.count(("m", 2)) == 1  # not again while its files stay as they are
    (base / "2" / "broken").unlink()
    (base / "2" / "saved_model.pb").write_text("mended")
    registry.poll()
    assert _states(registry) == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_failed_is_tried_again_when_it_comes_back(loads, folder):
    registry = Registry(loads)
    base = folder(1)
    registry.reload(_config(("m", base)))
    folder(2, broken=[2])
    registry.poll()
    (base / "2").rename(base / "away")
    registry.poll()
    (base / "away" / "broken").unlink()
    (base / "away").rename(base / "2")
    registry.poll()
    assert registry.find("m").version == 2


def test_retries_are_made_when_asked_for(folder):
    attempts = []

    def load(name, version, path):
        attempts.append(version)
        if len(attempts) < 3:
            raise StatusError(Code.UNAVAILABLE, "not yet")
        return Stand(name, version)

    registry = Registry(load, max_load_retries=2, load_retry_seconds=0.01)
    registry.reload(_config(("m", folder(1))))
    assert attempts == [1, 1, 1] and registry.find("m").version == 1
    assert registry.status("m")[0][2] is None


def test_a_first_config_whose_model_fails_says_why(loads, folder, tmp_path):
    registry = Registry(loads)
    message = _refusal(registry.reload, _config(("m", folder(1, broken=[1]))))
    assert message == (
        "UNKNOWN: 1 model(s) did not become available: "
        "{{name: m version: 1} due to error: INVALID_ARGUMENT: it is broken, }"
    )
    assert _states(registry) == {1: "END"}
    (tmp_path / "empty").mkdir()
    message = _refusal(Registry(loads).reload, _config(("n", tmp_path / "empty")))
    assert (
        message
        == f"UNKNOWN: 1 model(s) did not become available: {{{{n: no version folder under {tmp_path}/empty}}, }}"
    )


def test_a_reload_replaces_the_whole_config(loads, folder):
    registry = Registry(loads)
    registry.reload(_config(("m", folder(1)), ("n", folder(1, model="n"))))
    registry.reload(_config(("n", folder(1, model="n")), ("o", folder(5, model="o"))))
    assert _refusal(registry.find, "m").startswith("NOT_FOUND")
    assert _states(registry, "m") == {1: "END"} and loads.made["m", 1].closed
    assert registry.find("n").version == 1 and registry.find("o").version == 5
    assert loads.calls.count(("n", 1)) == 1
    assert registry.models() == ["n", "o"]
    registry.reload(_config())
    assert registry.models() == [] and loads.made["o", 5].closed


@pytest.mark.parametrize(
    "entry, message",
    [
        ('name: "m" base_path: "{m}" model_platform: "tensorflow" }} config {{ name: "m" base_path: "{m}"',
         "Illegal to list model m multiple times in config list"),
        ('name: "m" base_path: "relative" model_platform: "tensorflow"',
         "Expected model m to have an absolute path or URI; got base_path()=relative"),
        ('name: "m" base_path: "{m}" model_platform: "pytorch"', "Model m requests unsupported platform pytorch"),
        ('name: "m" base_path: "{m}"', "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
         "ModelServerConfig::model_platform, model name is m"),
        ('name: "m" base_path: "{m}" model_type: TENSORFLOW model_platform: "tensorflow"',
         "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, model "
         "name is m"),
        ('name: "m" base_path: "{m}" model_type: OTHER', "ModelServerConfig::model_type choice 2 not supported."),
        ('name: "new" base_path: "{m}/no" model_platform: "tensorflow"', "Could not find base path {m}/no for servable "
         "new with error NOT_FOUND: {m}/no not found"),
        ('name: "m" base_path: "{m}" model_platform: "tensorflow" version_labels {{ key: "x" value: 9 }}', "Request to "
         "assign label to version 9 of model m, which is not currently available for inference"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_work_changes_nothing(loads, folder, entry, message):
    registry = Registry(loads)
    base = folder(1, 2)
    good = _config(("m", base, ALL, 'version_labels { key: "s" value: 1 }'), ("n", folder(1, model="n")))
    registry_allowing = Registry(loads, labels_for_unavailable=True)
    registry_allowing.reload(good)
    registry.reload(_config(("m", base, ALL), ("n", folder(1, model="n"))))
    registry.reload(good)
    bad = protos.parse_text("model_config_list { config { " + entry.format(m=base) + " } }", protos.ModelServerConfig)
    with pytest.raises(StatusError) as caught:
        registry.reload(bad)
    assert caught.value.message == message.format(m=base)
    registry.poll()
    assert registry.models() == ["m", "n"] and registry.find("m", label="s").version == 1
    assert _states(registry) == {2: "AVAILABLE", 1: "AVAILABLE"} and registry.find("n").version == 1


def test_model_type_is_taken_where_no_platform_is_given(loads, folder):
    registry = Registry(loads)
    text = f'model_config_list {{ config {{ name: "m" base_path: "{folder(1)}" model_type: TENSORFLOW }} }}'
    registry.reload(protos.parse_text(text, protos.ModelServerConfig))
    assert registry.find("m").version == 1


def _labelled(base, **labels):
    entries = [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()]
    return _config(("m", base, ALL, *entries))


def test_labels_point_at_available_versions(loads, folder):
    base = folder(1)
    registry = Registry(loads)
    assert "not currently available" in _refusal(registry.reload, _labelled(base, stable=1))
    registry.reload(_config(("m", base, ALL)))
    registry.reload(_labelled(base, stable=1))
    assert registry.find("m", label="stable").version == 1
    folder(2)
    assert "version 2 of model m" in _refusal(registry.reload, _labelled(base, stable=2))  # it takes two steps
    registry.poll()
    registry.reload(_labelled(base, stable=2, old=1))
    assert registry.find("m", label="stable").version == 2 and registry.labels("m") == {"stable": 2, "old": 1}
    assert _refusal(registry.find, "m", None, "no") == "INVALID_ARGUMENT: Unrecognized servable version label: no"


def test_with_the_flag_new_labels_go_anywhere_but_do_not_move_there(loads, folder):
    base = folder(1)
    registry = Registry(loads, labels_for_unavailable=True)
    registry.reload(_labelled(base, stable=1, next=2))
    assert _refusal(registry.find, "m", None, "next") == "NOT_FOUND: Servable not found for request: Specific(m, 2)"
    assert "version 3 of model m" in _refusal(registry.reload, _labelled(base, stable=3))
    folder(2)
    registry.poll()
    assert registry.find("m", label="next").version == 2


def test_states_while_loading(folder):
    """One loads, one waits for its turn."""
    gate, seen = threading.Event(), threading.Event()

    def load(name, version, path):
        seen.set()
        assert gate.wait(30)
        return Stand(name, version)

    registry = Registry(load, load_threads=1)
    thread = threading.Thread(target=registry.reload, args=(_config(("m", folder(1, 2), ALL)),))
    thread.start()
    assert seen.wait(30)
    assert _states(registry) == {2: "LOADING", 1: "START"}
    assert _refusal(registry.find, "m").startswith("NOT_FOUND")
    gate.set()
    thread.join(30)
    assert _states(registry) == {2: "AVAILABLE", 1: "AVAILABLE"}


def test_a_request_between_two_versions_finds_the_new_one(loads, folder):
    registry = Registry(loads)
    registry.reload(_config(("m", folder(1))))
    old = registry.find("m")
    folder(2)
    find = registry.find
    found = []

    def find_late(*arguments):  # looks, then is overtaken by the change of versions
        found.append(find(*arguments))
        if len(found) == 1:
            registry.poll()
        return found[-1]

    registry.find = find_late
    with registry.use("m") as servable:
        assert servable.version == 2 and servable.busy == 1
    assert found[0] is old and old.busy == 0 and servable.busy == 0


def test_stopping_unloads_everything_and_ends_retries(loads, folder):
    registry = Registry(loads)
    registry.reload(_config(("m", folder(1, 2), ALL)))
    registry.stop(1)
    assert all(stand.closed for stand in loads.made.values())
    registry.poll()
    assert _refusal(registry.find, "m").startswith("NOT_FOUND")

    def never(name, version, path):
        raise invalid("never")

    waiting = Registry(never, max_load_retries=5, load_retry_seconds=60)
    thread = threading.Thread(target=lambda: _refusal(waiting.reload, _config(("m", folder(1)))))
    thread.start()
    time.sleep(0.1)
    waiting.stop(1)
    thread.join(10)
    assert not thread.is_alive()
