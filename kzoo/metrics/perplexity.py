"""How surprised a language model is by each token."""

from math import exp, inf


def perplexity(loss: float) -> float:
    """The exponential of the mean negative log-likelihood of a token, in nats; infinite where that overflows."""
    return exp(loss) if loss < 700 else inf
