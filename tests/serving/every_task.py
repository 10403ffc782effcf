"""One tiny task of every kind."""

import numpy as np

import kzoo
from tests import tiny


def tasks():
    """By name, those that read pairs and those over a decoder among them."""
    one, two = tiny.bert(num_layers=1), tiny.bert(num_layers=1, seed=1)
    talker = tiny.talkative(tiny.gpt2(num_layers=1))
    tagger = kzoo.Tag(tiny.bert(num_layers=1), labels=["film", "mood"])
    tagger.head.kernel.assign(np.random.default_rng(0).normal(size=tagger.head.kernel.shape))
    return {
        "classify": kzoo.Classify(one, labels=["négatif", "positive"]),
        "pairs": kzoo.Classify(two, labels=["a", "b", "c"], pair=True),
        "decoder": kzoo.Classify(tiny.gpt2(num_layers=1), labels=["a", "b"]),
        "regress": kzoo.Regress(one),
        "embed": kzoo.Embed(one),
        "fill_mask": kzoo.FillMask(one, top_k=3),
        "tag": tagger,
        "answer": kzoo.Answer(one),
        "generate": kzoo.Generate(talker, max_new_tokens=4),
    }
