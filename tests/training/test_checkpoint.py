import json

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.training.checkpoint import Checkpoints, Position


def variables(value=0.0):
    return {
        "weights": [tf.Variable([value] * 3), tf.Variable(value)],
        "counts": [tf.Variable(int(value), dtype="int64")],
    }


def position(total, *, epoch=0):
    return Position(epoch=epoch, step=total, total=total)


def saved(folder, *totals, **arguments):
    state = variables()
    checkpoints = Checkpoints(folder, state, **arguments)
    for total in totals:
        for variable in [*state["weights"], *state["counts"]]:
            variable.assign(tf.cast(tf.fill(variable.shape, total), variable.dtype))
        checkpoints.save(position(total))
    return checkpoints


def test_restores_values_and_position_in_another_object(tmp_path):
    saved(tmp_path, 4, 7)
    state = variables()
    assert Checkpoints(tmp_path, state).restore() == position(7)
    np.testing.assert_array_equal(state["weights"][0], [7.0] * 3)
    assert int(state["counts"][0]) == 7


def test_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "none", variables()).restore() is None


def test_keeps_the_last_and_leaves_nothing_else(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 30, 100000000, keep=2)
    assert [path.name for path in checkpoints.paths()] == ["step-00000030", "step-100000000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_the_same_step_again_changes_nothing(tmp_path):
    checkpoints = saved(tmp_path, 5)
    before = (checkpoints.paths()[0] / "position.json").stat().st_mtime_ns
    checkpoints.save(position(5))
    assert (checkpoints.paths()[0] / "position.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "position"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, damage):
    checkpoints = saved(tmp_path, 3, 9, keep=2)
    path = checkpoints.paths()[-1]
    data = path / "state.data-00000-of-00001"
    content = data.read_bytes()
    if damage == "cut":
        data.write_bytes(content[:-1])
    elif damage == "flip":
        data.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "missing":
        data.unlink()
    else:
        (path / "position.json").write_text("{")
    said, state = [], variables()
    again = Checkpoints(tmp_path, state)
    assert again.restore(say=said.append) == position(3)
    assert int(state["counts"][0]) == 3
    assert "step-00000009 is damaged" in said[0]
    again.save(position(9))  # in the place of the damaged one
    assert Checkpoints(tmp_path, variables()).restore(say=said.append) == position(9) and len(said) == 1


def test_nothing_but_damaged_checkpoints_is_an_error_not_a_new_start(tmp_path):
    (saved(tmp_path, 3).paths()[0] / "state.index").unlink()
    with pytest.raises(UserError, match="nothing to go on from. Remove .* to start anew"):
        Checkpoints(tmp_path, variables()).restore(say=lambda text: None)


def test_another_model_is_refused(tmp_path):
    saved(tmp_path, 3)
    state = variables() | {"weights": [tf.Variable([0.0] * 4), tf.Variable(0.0)]}
    with pytest.raises(UserError, match="does not fit this model"):
        Checkpoints(tmp_path, state).restore()
    with pytest.raises(UserError, match="does not fit this model"):
        Checkpoints(tmp_path, variables() | {"more": [tf.Variable(1.0)]}).restore()


def test_other_data_is_refused(tmp_path):
    saved(tmp_path, 3, facts={"number_of_examples": 10})
    with pytest.raises(UserError, match="was made with number of examples 10, now it is 11"):
        Checkpoints(tmp_path, variables(), facts={"number_of_examples": 11}).restore()


def test_a_failed_save_leaves_no_trace_and_the_old_ones(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 3, keep=1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(UserError, match="The disk is full: .*step-00000004 could not .*step-00000003 stays"):
        checkpoints.save(position(4))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_what_a_killed_save_left_is_not_taken_for_a_checkpoint(tmp_path):
    checkpoints = saved(tmp_path, 3)
    half = tmp_path / ".step-00000009.123"
    half.mkdir()
    (half / "position.json").write_text(json.dumps({"epoch": 9}))
    (tmp_path / "step-00000003" / ".position.json.123").write_text("{")
    assert Checkpoints(tmp_path, variables()).restore() == position(3)
    assert list(tmp_path.iterdir()) == checkpoints.paths() == [tmp_path / "step-00000003"]
    assert not list(checkpoints.paths()[0].glob(".*"))


def test_what_a_kill_before_the_removal_of_old_ones_left_is_removed(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3, keep=3)
    assert Checkpoints(tmp_path, variables(), keep=2).restore() == position(3)
    assert [path.name for path in checkpoints.paths()] == ["step-00000002", "step-00000003"]


def test_the_end_of_an_epoch_moves_the_position_of_a_checkpoint_of_the_same_step(tmp_path):
    checkpoints = saved(tmp_path, 5)
    before = (checkpoints.paths()[0] / "state.index").stat().st_mtime_ns
    checkpoints.save(Position(epoch=1, step=0, total=5), {"best": {"step": 3}})
    again = Checkpoints(tmp_path, variables())
    assert again.restore() == Position(epoch=1, step=0, total=5) and again.notes == {"best": {"step": 3}}
    assert (checkpoints.paths()[0] / "state.index").stat().st_mtime_ns == before


def test_any_other_error_of_a_save_stays_what_it_is(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 3)

    def denied(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.rename", denied)
    with pytest.raises(PermissionError):
        checkpoints.save(position(4))
