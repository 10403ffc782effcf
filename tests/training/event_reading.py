"""What a run's event files say."""

import collections

import tensorflow as tf


def points(folder):
    """Tag to the steps at which it was written, of all event files of a folder; a step written twice stands twice."""
    found = collections.defaultdict(list)
    for value, step in _values(folder):
        found[value.tag].append(step)
    return {tag: sorted(steps) for tag, steps in found.items()}


def tensors(folder, tag):
    """Step to the tensor of a tag."""
    return {step: tf.make_ndarray(value.tensor) for value, step in _values(folder) if value.tag == tag}


def _values(folder):
    for path in sorted(folder.glob("events.out.tfevents.*.v2")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                yield value, event.step
