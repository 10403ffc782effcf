"""Settings of batching are tried on a real server and the best is proposed, drawn, and written when asked."""

import itertools
import xml.etree.ElementTree

import pytest

from kzoo.errors import UserError
from kzoo.serving import batching, protos, tuning
from kzoo.serving.bundle import bundle
from kzoo.serving.tuning import Setting, Trial, Tuned, tune
from kzoo.serving.tuning_plot import draw


def _parameters(path):
    return protos.read(path, protos.BatchingParameters)


@pytest.fixture
def path(tmp_path, classify):
    return bundle({"reviews": classify.path}, tmp_path / "bundle")


def _trial(setting, rate, p99, failed=0):
    return Trial(setting=setting, rate=rate, p50=p99 / 2, p99=p99, alone=1.0, failed=failed)


@pytest.fixture
def measured(monkeypatch):
    """Stands for the server: two threads are best, then 8 rows, then no waiting."""
    asked = []

    def attempt(version, parameters, setting, *_):
        asked.append(setting)
        rate = 100.0 - 20 * abs(setting.threads - 2) - abs(setting.largest - 8) - setting.timeout / 1000
        return _trial(setting, rate, 1000 / rate)

    monkeypatch.setattr(tuning, "_try", attempt)
    return asked


def test_one_knob_is_turned_at_a_time_from_what_the_model_has(path, measured):
    batching.write(path / "models" / "reviews" / "1", (1, 2, 4, 8, 16, 32))
    found = tune(path, threads=(1, 2, 4), timeouts=(0, 1000, 5000))
    assert found.trials[0].setting.largest == 32 and found.trials[0].setting.timeout == batching.TIMEOUT
    assert found.best.setting == Setting(2, 8, 0)
    assert len(measured) == len(set(measured)) < 12  # no setting twice, and by far not all 54
    assert {one.threads for one in measured} == {1, 2, 4} and {one.largest for one in measured} == {1, 2, 4, 8, 16, 32}
    proposed = found.parameters()
    protos.check_batching(proposed, where="the proposal")
    assert proposed.max_execution_batch_size.value == 8 and proposed.batch_timeout_micros.value == 0
    assert not proposed.allowed_batch_sizes


def test_sizes_that_batches_are_padded_to_stay_where_they_were_given(path, measured):
    padded = batching.parameters((1, 8, 16))
    padded.allowed_batch_sizes.extend([1, 8, 16, padded.max_batch_size.value])
    batching.write_parameters(path / "models" / "reviews" / "1", padded)
    found = tune(path, threads=(2,), timeouts=(0,))
    assert {one.largest for one in measured} == {1, 8, 16}
    assert list(found.parameters().allowed_batch_sizes) == [1, 8, padded.max_batch_size.value]


def test_of_rates_as_good_the_shorter_tail_wins_and_a_limit_comes_first():
    settings = itertools.count(1)
    fast, same, slow, broken = (
        _trial(Setting(next(settings), 8, 0), *figures) for figures in ((100, 90), (98, 40), (50, 10), (500, 5, 3))
    )
    trials = [fast, same, slow, broken]
    assert tuning._best(trials, None) is same
    assert tuning._best(trials, 20) is slow
    assert tuning._best(trials, 1) is slow  # none keeps within it: the one that comes nearest


def test_the_proposal_is_written_into_a_bundle(path, measured):
    found = tune(path, threads=(1, 2), timeouts=(0,))
    written = tuning.apply(path, found)
    assert [one.name for one in written] == ["batching_params.pbtxt", "batching.config"]
    assert _parameters(written[0]) == found.parameters()
    assert _parameters(written[1]).num_batch_threads.value == 2
    again = tune(path, threads=(2,), timeouts=(0,))
    assert again.trials[0].setting == found.best.setting


def test_what_was_tried_is_drawn(path, measured):
    found = tune(path, threads=(1, 2), timeouts=(0, 1000), limit=12.0)
    drawing = xml.etree.ElementTree.fromstring(draw(found))
    space = "{http://www.w3.org/2000/svg}"
    assert drawing.tag == f"{space}svg"
    assert len(drawing.findall(f"{space}circle")) == len(found.trials) + 2
    said = [one.text for one in drawing.iter(f"{space}text")]
    assert {"proposed", "as it was", "1 batch thread", "2 batch threads"} <= set(said)


def test_a_server_is_tuned(classify, tmp_path):
    found = tune(
        classify.path, clients=4, seconds=0.3, threads=(2,), timeouts=(0,), runner="embedded",
        requests=[{"text": ["good"]}, {"text": ["bad and long"]}],
    )  # fmt: skip
    assert isinstance(found, Tuned) and found.best in found.trials
    assert all(one.rate > 0 and one.p99 >= one.p50 > 0 and one.failed == 0 for one in found.trials)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "other"}, "has no model 'other'. It has reviews"),
        ({"clients": 0}, "above 0. Received 0"),
        ({"requests": [{"nosuch": [1]}], "seconds": 0.1, "runner": "embedded"}, "refuses the requests .*400"),
    ],
)
def test_what_cannot_be_tuned_is_said(path, options, message):
    with pytest.raises(UserError, match=message):
        tune(path, **options)


def test_a_model_that_is_not_batched_is_left_alone(path, monkeypatch):
    (path / "models" / "reviews" / "1" / "batching_params.pbtxt").unlink()
    monkeypatch.setattr(batching, "can_be_batched", lambda signatures: False)
    with pytest.raises(UserError, match="reviews is not batched"):
        tune(path)


def test_example_requests_have_texts_of_mixed_length(classify):
    lengths = [len(one["text"][0].split()) for one in tuning.example_requests(classify.path)]
    assert min(lengths) <= 5 and max(lengths) >= 50
    assert tuning.input_of_text(classify.path) == "text"
