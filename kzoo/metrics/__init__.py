"""What the field reports, computed as the field does. Imports neither TensorFlow nor Keras."""

from kzoo.metrics.accuracy import Accuracy, accuracy
from kzoo.metrics.bootstrap import bootstrap_counts, bootstrap_groups, bootstrap_interval
from kzoo.metrics.calibration import Calibration, calibration
from kzoo.metrics.confusion import confusion_matrix, label_f1, macro_f1, matthews_correlation, micro_f1, per_class
from kzoo.metrics.correlation import absolute_error, cosine, pearson, root_squared_error, spearman
from kzoo.metrics.curves import PrecisionRecall, precision_recall
from kzoo.metrics.diversity import distinct, self_bleu
from kzoo.metrics.interval import wilson_interval
from kzoo.metrics.overlap import Overlap, bleu, chrf, chrf_of_each, rouge
from kzoo.metrics.perplexity import perplexity
from kzoo.metrics.retrieval import ranks_of_pairs, recall_at, reciprocal_rank
from kzoo.metrics.selective import RiskCoverage, risk_coverage
from kzoo.metrics.squad import Threshold, answer_exact, answer_f1, best_threshold, normalized_answer

__all__ = [
    "Accuracy",
    "Calibration",
    "Overlap",
    "PrecisionRecall",
    "RiskCoverage",
    "Threshold",
    "absolute_error",
    "accuracy",
    "answer_exact",
    "answer_f1",
    "best_threshold",
    "bleu",
    "bootstrap_counts",
    "bootstrap_groups",
    "bootstrap_interval",
    "calibration",
    "chrf",
    "chrf_of_each",
    "confusion_matrix",
    "cosine",
    "distinct",
    "label_f1",
    "macro_f1",
    "matthews_correlation",
    "micro_f1",
    "normalized_answer",
    "pearson",
    "per_class",
    "perplexity",
    "precision_recall",
    "ranks_of_pairs",
    "recall_at",
    "reciprocal_rank",
    "risk_coverage",
    "root_squared_error",
    "rouge",
    "self_bleu",
    "spearman",
    "wilson_interval",
]
