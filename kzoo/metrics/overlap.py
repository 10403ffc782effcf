"""How much written texts share with the right ones: BLEU and chrF by sacreBLEU, ROUGE by ``rouge-score``."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from kzoo.metrics.bootstrap import bootstrap_interval

# N texts, K statistics of a text


@dataclass(frozen=True)
class Overlap:
    """A measure of a corpus, with what it is made of for each text.

    Attributes:
        value: of the whole corpus.
        statistics: float64 ``[N, K]``: what the measure sums over the texts.
        measure: from such sums ``[K]`` and the number of texts to the value.
        signature: how it was computed, to be written beside the value.
    """

    value: float
    statistics: np.ndarray
    measure: Callable[[np.ndarray, int], float]
    signature: str

    def interval(self, *, resamples: int = 1000) -> list[float]:
        """The bootstrap interval over texts, 95%."""
        low, high = bootstrap_interval(
            lambda some: self.measure(some.sum(0), len(some)), self.statistics, resamples=resamples
        )
        return [low, high]


def bleu(written: Sequence[str], right: Sequence[str]) -> Overlap:
    """BLEU of a corpus, 0 to 100 (Papineni et al. 2002; Post 2018): 13a tokens, exponential smoothing."""
    from sacrebleu.metrics import BLEU

    return _by_sacrebleu(BLEU(), written, right)


def chrf(written: Sequence[str], right: Sequence[str]) -> Overlap:
    """The chrF of a corpus, 0 to 100 (Popović 2015): up to six letters, no words, beta 2."""
    from sacrebleu.metrics import CHRF

    return _by_sacrebleu(CHRF(), written, right)


def _by_sacrebleu(metric, written: Sequence[str], right: Sequence[str]) -> Overlap:
    value = metric.corpus_score(list(written), [list(right)]).score
    # what its own bootstrap resamples; a public way to it there is not
    statistics = np.array(metric._extract_corpus_statistics(list(written), [list(right)]), np.float64)
    return Overlap(
        value=float(value),
        statistics=statistics,
        measure=lambda sums, _: float(metric._compute_score_from_stats([int(one) for one in sums]).score),
        signature=str(metric.get_signature()),
    )


def rouge(written: Sequence[str], right: Sequence[str]) -> dict[str, Overlap]:
    """ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004): the means of each text's F1, 0 to 1.

    Words are letters a to z and digits in lower case, not stemmed: of other scripts it sees nothing.

    Returns:
        By the names ``rouge_1``, ``rouge_2`` and ``rouge_l``.
    """
    from rouge_score.rouge_scorer import RougeScorer

    names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(names.values()))
    scores = [scorer.score(one, other) for one, other in zip(right, written, strict=True)]
    signature = f"rouge-score {version('rouge-score')}, F1, mean of texts, no stemming"
    made = {}
    for name, theirs in names.items():
        values = np.array([[score[theirs].fmeasure] for score in scores])
        made[name] = Overlap(
            value=float(values.mean()),
            statistics=values,
            measure=lambda sums, count: float(sums[0] / count),
            signature=signature,
        )
    return made


@functools.cache
def _sentence_chrf():
    from sacrebleu.metrics import CHRF

    return CHRF()


def chrf_of_each(written: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """The chrF of each text, ``[N]``."""
    metric = _sentence_chrf()
    return np.array([metric.sentence_score(one, [other]).score for one, other in zip(written, right, strict=True)])
