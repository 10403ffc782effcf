"""Labels move in steps that a server can follow: never to a version that is not loaded, never from one that is gone."""

import json
import threading
import time

import pytest

from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving import client, followers, inventory, policies, promotion, protos, saved_model
from kzoo.serving.bundle import bundle
from kzoo.serving.label_history import History
from kzoo.serving.promotion import promote, remove_label, rollback


@pytest.fixture
def small(tmp_path):
    """A folder that passes for a SavedModel of kzoo's, quick to copy."""
    extra = tmp_path / "small" / saved_model.EXTRA
    extra.mkdir(parents=True)
    (tmp_path / "small" / "saved_model.pb").write_bytes(b"graph")
    entry = {"inputs": {"text": {"dtype": "string", "shape": [None]}}, "outputs": {}, "defaults": {}}
    (extra / saved_model.DESCRIPTION).write_text(json.dumps({"task": "t", "signatures": {"serving_default": entry}}))
    return tmp_path / "small"


@pytest.fixture
def path(tmp_path, small):
    """A bundle with versions 1, 2 and 3 of the model m."""
    made = bundle({"m": small}, tmp_path / "bundle")
    for _ in range(2):
        bundle({"m": small}, made)
    return made


def entry(path):
    return protos.read(path / "models.config", protos.ModelServerConfig).model_config_list.config[0]


def labels(path):
    return dict(entry(path).version_labels)


class FakeServer:
    """Follows a bundle as a server does: one look at models.config for each question."""

    def __init__(self, path, *, broken=(), stop_at=None):
        self.path, self.broken, self.stop_at = path, set(broken), stop_at
        self.available, self.labels, self.looks, self.seen = set(), {}, 0, []

    def _follow(self):
        self.looks += 1
        if self.looks == self.stop_at:
            raise KeyboardInterrupt
        told = entry(self.path)
        wanted = policies.loaded(told, bundles.versions(self.path, "m"))
        for label, version in told.version_labels.items():
            if self.available and version not in self.available:
                raise AssertionError(f"{label} was moved to {version} before that was loaded")
        self.labels = dict(told.version_labels)
        self.available = wanted - self.broken
        assert set(self.labels.values()) <= self.available, "a label names a version that went"
        self.seen.append((tuple(sorted(self.available)), self.labels.get("stable")))

    def status(self, model, *, version=None):
        if model != "m":
            raise client.ReplyError("NOT_FOUND", "no such model")
        before = set(self.available)
        self._follow()
        states = dict.fromkeys(self.available, "AVAILABLE")
        failing = policies.loaded(entry(self.path), bundles.versions(self.path, "m")) & self.broken
        return states | dict.fromkeys(failing, "LOADING" if self.looks < 4 and not before & failing else "END")

    def problems(self, model):
        return dict.fromkeys(self.broken, "weights are gone")

    def labelled(self, model, label):
        self._follow()
        if label not in self.labels:
            raise client.ReplyError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        return self.labels[label]

    def close(self):
        pass


@pytest.fixture
def served(path, monkeypatch):
    """Starts a fake server for the bundle; its options as of ``FakeServer``."""
    monkeypatch.setattr(followers, "POLL", 0.0)

    def start(**options):
        server = FakeServer(path, **options)
        monkeypatch.setattr(client, "connect", lambda *_, **__: server)
        server.status("m")
        return server

    return start


HERE = {"servers": ["http://127.0.0.1:1"]}


def test_a_label_moves_after_its_version_and_before_the_old_one_goes(path, served):
    server = served()
    assert promote(path, "m", 1, **HERE) is None
    assert server.available == {1}  # it has followed to the end
    assert labels(path) == {"stable": 1} and policies.policy_word(entry(path)) == "specific:1"
    del server.seen[:]
    assert promote(path, "m", 3, **HERE) == 1
    server.status("m")
    steps = list(dict.fromkeys(server.seen))
    assert steps == [((1,), 1), ((1, 3), 1), ((1, 3), 3), ((3,), 3)]
    assert History.read(path).pending is None

    assert rollback(path, "m", **HERE) == 1
    server.status("m")
    assert labels(path) == {"stable": 1} and server.available == {1}


def test_rollbacks_go_further_back_and_end_at_the_first(path):
    for version in (1, 2, 3):
        promote(path, "m", version, offline=True)
    assert [rollback(path, "m", offline=True) for _ in range(2)] == [2, 1]
    with pytest.raises(UserError, match="stable of m names version 1, and no version is known that it named before"):
        rollback(path, "m", offline=True)
    promote(path, "m", 3, offline=True)
    assert rollback(path, "m", offline=True) == 1


def test_a_promotion_that_is_repeated_changes_nothing(path, served):
    served()
    promote(path, "m", 2, **HERE)
    before = {name: (path / name).read_bytes() for name in ("models.config", "history.json")}
    said = []
    assert promote(path, "m", 2, say=said.append, **HERE) == 2
    assert {name: (path / name).read_bytes() for name in before} == before
    assert said == ["The label stable of m names version 2 already."]


@pytest.mark.parametrize("stop_at", range(1, 10))
def test_wherever_it_is_interrupted_the_same_command_ends_it(path, served, stop_at):
    promote(path, "m", 1, offline=True)
    server = served()
    server.looks, server.stop_at = 0, stop_at
    try:
        promote(path, "m", 2, **HERE)
    except KeyboardInterrupt:
        promote(path, "m", 2, **HERE)
    server.stop_at = None
    assert labels(path) == {"stable": 2} and policies.policy_word(entry(path)) == "specific:2"
    assert [(move.source, move.target) for move in History.read(path).changes] == [(None, 1), (1, 2)]
    # and back, interrupted at the same places: repeated it does not go back twice
    promote(path, "m", 3, **HERE)
    server.looks, server.stop_at = 0, stop_at
    try:
        version = rollback(path, "m", **HERE)
    except KeyboardInterrupt:
        was_moved = labels(path)["stable"] == 2 and History.read(path).pending is None
        version = 2 if was_moved else rollback(path, "m", **HERE)
    assert version == 2 and labels(path) == {"stable": 2}


def test_an_interrupted_promotion_can_be_taken_back_and_stands_in_the_way_of_others(path, served):
    promote(path, "m", 1, offline=True)
    server = served()
    server.looks, server.stop_at = 0, 2
    with pytest.raises(KeyboardInterrupt):
        promote(path, "m", 2, **HERE)
    assert inventory.pending(path).target == 2
    with pytest.raises(UserError, match="was interrupted. End it first: kzoo promote .* m 2 --label stable"):
        promote(path, "m", 3, label="canary", **HERE)
    said = []
    assert rollback(path, "m", say=said.append, **HERE) == 1
    assert "taken back" in said[0]
    assert labels(path) == {"stable": 1} and policies.policy_word(entry(path)) == "specific:1"
    assert inventory.pending(path) is None


def test_another_promotion_replaces_the_interrupted_one(path, served):
    promote(path, "m", 1, offline=True)
    server = served()
    server.looks, server.stop_at = 0, 2
    with pytest.raises(KeyboardInterrupt):
        promote(path, "m", 2, **HERE)
    promote(path, "m", 3, **HERE)
    assert labels(path) == {"stable": 3} and policies.policy_word(entry(path)) == "specific:3"
    assert rollback(path, "m", **HERE) == 1


def test_a_version_that_does_not_load_changes_nothing(path, served):
    promote(path, "m", 1, offline=True)
    before = (path / "models.config").read_bytes()
    server = served(broken={2})
    with pytest.raises(UserError, match="Version 2 of m cannot be loaded, .*stays where it was: weights are gone"):
        promote(path, "m", 2, **HERE)
    assert (path / "models.config").read_bytes() == before
    assert inventory.pending(path) is None and server.available == {1}


def test_the_former_version_may_stay_loaded(path, served):
    served()
    promote(path, "m", 1, **HERE)
    promote(path, "m", 2, keep_former=True, **HERE)
    assert policies.policy_word(entry(path)) == "specific:1,2"
    rollback(path, "m", **HERE)
    assert policies.policy_word(entry(path)) == "specific:1"


def test_two_labels_share_versions_without_losing_them(path, served):
    served()
    promote(path, "m", 1, **HERE)
    promote(path, "m", 3, label="canary", **HERE)
    assert policies.policy_word(entry(path)) == "specific:1,3"
    promote(path, "m", 3, **HERE)
    assert policies.policy_word(entry(path)) == "specific:3"
    promote(path, "m", 2, **HERE)
    assert policies.policy_word(entry(path)) == "specific:2,3"  # the canary's stays
    remove_label(path, "m", "canary")
    assert labels(path) == {"stable": 2} and policies.policy_word(entry(path)) == "specific:2"
    remove_label(path, "m", "stable")
    assert labels(path) == {} and policies.policy_word(entry(path)) == "latest:1"


def test_versions_that_a_policy_keeps_stay(path, served):
    bundle({}, path, policies={"m": "latest:3"})
    served()
    promote(path, "m", 1, **HERE)
    promote(path, "m", 2, **HERE)
    assert policies.policy_word(entry(path)) == "latest:3" and labels(path) == {"stable": 2}
    bundle({}, path, policies={"m": "all"})
    promote(path, "m", 3, **HERE)
    assert policies.policy_word(entry(path)) == "all"
    with pytest.raises(UserError, match="latest:1x? would unload|A policy is latest:N"):
        bundle({}, path, policies={"m": "latest:1x"})
    promote(path, "m", 1, **HERE)
    with pytest.raises(UserError, match="latest:1 would unload version 1 of m, which has the label stable"):
        bundle({}, path, policies={"m": "latest:1"})
    with pytest.raises(UserError, match="m has no version 7; it has 1, 2, 3"):
        bundle({}, path, policies={"m": "specific:1,7"})


def test_a_new_version_never_drives_out_one_that_has_a_label(path, served, small):
    server = served()
    promote(path, "m", 3, **HERE)  # the newest, which was loaded anyway
    assert policies.policy_word(entry(path)) == "specific:3"
    bundle({"m": small}, path)
    server.status("m")
    assert server.available == {3}
    bundle({}, path, policies={"m": "latest:2"})
    server.status("m")
    assert server.available == {3, 4}
    bundle({"m": small}, path)
    server.status("m")
    assert server.available == {3, 4} and policies.policy_word(entry(path)) == "specific:3,4"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: promote(path, "n", 1, offline=True), "has no model 'n'. It has m"),
        (lambda path: promote(path, "m", 9, offline=True), "has no version 9 of m. It has 1, 2, 3"),
        (lambda path: promote(path, "m", 1, label="a/b", offline=True), "A label stands in URLs.*'a/b'"),
        (lambda path: rollback(path, "m", offline=True), "m has no label 'stable'. Its labels: none"),
        (lambda path: remove_label(path, "m", "x"), "m has no label 'x'"),
        (lambda path: promote(path, "m", 1, servers=["http://127.0.0.1:9"]), "No server answers at"),
        (lambda path: promote(path / "models", "m", 1, offline=True), "is not a bundle"),
        (lambda path: promote(path, "m", 1, offline=True, **HERE), "Either servers are asked or none runs"),
    ],
)
def test_what_cannot_be_moved_is_said_and_nothing_changes(path, call, message):
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=message):
        call(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_without_an_address_the_usual_port_is_asked(path, monkeypatch):
    monkeypatch.setattr(promotion, "DEFAULT_SERVER", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"No server answers at http://127.0.0.1:9.*--rest HOST:PORT.*--offline"):
        promote(path, "m", 1)


def test_a_damaged_version_is_refused_before_any_server_sees_it(path):
    (path / "models" / "m" / "2" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match="saved_model.pb is empty: the SavedModel is damaged"):
        promote(path, "m", 2, offline=True)
    assert labels(path) == {}


def test_a_server_that_takes_too_long_leaves_the_move_to_be_repeated(path, served, monkeypatch):
    server = served()
    monkeypatch.setattr(server, "status", lambda model: {1: "AVAILABLE"})
    with pytest.raises(UserError, match="did not come so far within 0 seconds: version 2 of m is not known yet"):
        promote(path, "m", 2, timeout=0.05, **HERE)
    assert inventory.pending(path).target == 2 and labels(path) == {}


def test_the_inventory_tells_versions_labels_and_since_when(path):
    promote(path, "m", 2, offline=True)
    told = {one.version: one for one in inventory.entries(path)}
    assert list(told) == [3, 2, 1]
    assert told[2].labels.keys() == {"stable"} and told[2].labels["stable"].endswith("+00:00")
    assert [one.version for one in told.values() if one.is_loaded] == [2]
    assert all(one.size > 100 and one.policy == "specific:2" for one in told.values())


def test_a_damaged_history_is_named(path):
    (path / "history.json").write_text("{")
    with pytest.raises(UserError, match="history.json is damaged .*Labels stand in models.config and are safe"):
        promote(path, "m", 1, offline=True)


def test_a_served_bundle_that_was_moved_follows_a_promotion_without_a_failed_request(tmp_path, classify, monkeypatch):
    from kzoo.serving.launch import serve

    first = bundle({"reviews": classify.path}, tmp_path / "made")
    bundle({"reviews": classify.path}, first)
    promote(first, "reviews", 1, offline=True)
    path = tmp_path / "elsewhere" / "moved"
    path.parent.mkdir()
    first.rename(path)
    with serve(path, rest_port=0, grpc_port=0, runner="embedded", config_poll_seconds=1, say=str) as running:
        asking = client.connect(running.rest_address)
        assert asking.labelled("reviews", "stable") == 1 and asking.status("reviews") == {1: "AVAILABLE"}
        failures, answers, is_over = [], [], threading.Event()

        def ask():
            other = client.connect(running.rest_address)
            while not is_over.is_set():
                try:
                    answers.append(other.predict("reviews", {"text": ["good"]}, label="stable"))
                except UserError as error:
                    failures.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            promote(path, "reviews", 2, servers=[running.rest_address], timeout=120)
            assert asking.labelled("reviews", "stable") == 2
            rollback(path, "reviews", servers=[f"grpc://{running.grpc_address}"], timeout=120)
            assert asking.labelled("reviews", "stable") == 1
            deadline = time.monotonic() + 60
            while asking.status("reviews") != {1: "AVAILABLE", 2: "END"} and time.monotonic() < deadline:
                time.sleep(0.1)
            assert asking.status("reviews") == {1: "AVAILABLE", 2: "END"}
        finally:
            is_over.set()
            thread.join()
        assert not failures and len(answers) > 10
