"""What the choice of demonstrations does to a language model's accuracy on movie reviews.

    python benchmarks/few_shot.py --texts 300 --pool 1000 --output few-shot.json

Every setting labels the same held-out sentences; each line has the accuracy with Wilson's interval, the share labelled
positive, and seconds of processor time. Demonstrations drawn at random are drawn anew for each seed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import kzoo
from kzoo import data
from kzoo.metrics.accuracy import from_share

TEMPLATE = "Review: {text}\nSentiment: {label}"
SETTINGS = [
    {"shots": 0},
    {"choose": "random", "shots": 4, "seed": 0},
    {"choose": "diverse", "shots": 4},
    {"choose": "similar", "shots": 4},
    {"choose": "random", "shots": 8, "seed": 0},
    {"choose": "diverse", "shots": 8},
    {"choose": "random", "shots": 4, "seed": 1},
    {"choose": "random", "shots": 8, "seed": 1},
    {"choose": "overlap", "shots": 4},
    {"choose": "random", "shots": 16, "seed": 0},
    {"choose": "diverse", "shots": 16},
    {"choose": "similar", "shots": 8},
    {"choose": "random", "shots": 4, "seed": 2},
    {"choose": "random", "shots": 8, "seed": 2},
    {"choose": "similar", "shots": 4, "balanced": True},
]


def main() -> None:
    """Measures all settings; calibrated answers come from the same pass as the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--embedder", default="minilm-l6-v2")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--pool", type=int, default=1000)
    parser.add_argument("--output", default="few-shot.json")
    given = parser.parse_args()

    pool, held_out = data.split(data.read("movie-reviews"), held_out=0.2, seed=0, stratify="label")
    pool, held_out = pool.sample(given.pool), held_out.sample(given.texts)
    decoder, embedder = kzoo.load(given.model), kzoo.Embed(kzoo.load(given.embedder))
    vectors, texts = embedder.vectors(list(pool["text"])), held_out["text"].tolist()
    results = []
    for setting in SETTINGS:
        how = dict(setting)
        overlap = how.get("choose") == "overlap"
        compared = {"choose": "similar"} if overlap else {"embedder": embedder, "vectors": vectors}
        task = kzoo.FewShot(
            decoder, pool=pool, template=TEMPLATE, max_length=1024, content_free="N/A", **(how | compared)
        )
        answer = tf.function(
            lambda texts, task=task: task.choice_scores(task.tokenize({"text": texts})),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )
        answer(tf.constant(texts[:2]))
        start = time.process_time()
        scores = [answer(tf.constant(texts[first : first + 32])) for first in range(0, len(texts), 32)]
        seconds = time.process_time() - start
        prompt, content_free = (np.concatenate(one) for one in zip(*scores, strict=True))
        for calibrated, values in ((False, prompt), (True, prompt - content_free)):
            answers = np.array(task.labels, object)[values.argmax(-1)]
            share = from_share(float((answers == held_out["label"]).mean()), len(texts))
            found = {"calibrated": calibrated, "accuracy": share.value, "interval": [share.low, share.high]}
            found |= {"positive": float((answers == "positive").mean()), "seconds": seconds}
            results.append(setting | found)
            print(json.dumps(results[-1]), flush=True)
        Path(given.output).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
