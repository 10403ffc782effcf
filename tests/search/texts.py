"""A tiny embedder, and passages for it."""

import kzoo
from tests import tiny

PASSAGES = [
    "the film was good",
    "a bad film",
    "it was not bad at all",
    "café 北京 film",
    "good good good",
    "all of it was bad, bad!",
    "zoo animals eat at nine",
]


def embedder(**options):
    """Small vectors, always the same; noise for weights puts texts far apart."""
    return kzoo.Embed(tiny.bert(num_layers=1, **options))
