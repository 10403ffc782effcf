"""What the field reports, computed as the field does. Imports neither TensorFlow nor Keras."""

from kzoo.metrics.accuracy import Accuracy, accuracy
from kzoo.metrics.interval import wilson_interval
from kzoo.metrics.perplexity import perplexity

__all__ = ["Accuracy", "accuracy", "perplexity", "wilson_interval"]
