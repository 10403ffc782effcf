"""Which labelled examples of a pool are shown to a model before a question."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kzoo.tokenizers import Tokenizer

# P examples of the pool, B questions, V vocabulary, D width of vectors, K demonstrations

PROJECTED = 256
"""Width of the vectors that stand for texts where there is no embedder: of token weights, projected at random."""
_SATURATION, _LENGTH_SHARE = 1.2, 0.75  # BM25's k1 and b, as usual
_ROUNDS = 25  # of k-means


class TokenOverlap:
    """How much texts share with those of a pool: BM25 over token ids (Robertson and Zaragoza 2009, equation 3.15).

    A token that a question holds twice counts once. Case does not matter.

    Args:
        tokenizer: gives the tokens.
        texts: of the pool.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]):
        self._tokenizer = tokenizer
        self._size = max(tokenizer.vocabulary_size, 1)
        ids = self._ids(tf.constant(list(texts), tf.string))
        self._count = len(texts)
        self.rows, tokens, counts = _counted(ids.value_rowids().numpy(), ids.flat_values.numpy(), self._size)
        self.tokens = tokens
        holders = np.bincount(tokens, minlength=self._size)[tokens]
        lengths = ids.row_lengths().numpy().astype(np.float64)
        relative = (lengths / max(lengths.mean(), 1.0))[self.rows] if self._count else np.zeros(0)
        rarity = np.log1p((self._count - holders + 0.5) / (holders + 0.5))
        damped = counts + _SATURATION * (1.0 - _LENGTH_SHARE + _LENGTH_SHARE * relative)
        self.weights = (rarity * counts * (_SATURATION + 1.0) / damped).astype(np.float32)

    def _ids(self, texts) -> tf.RaggedTensor:
        lowered = tf.strings.join([" ", tf.strings.lower(texts, encoding="utf-8")])
        return self._tokenizer.tokenize(lowered, special_tokens_in_text=False).ids

    def __call__(self, texts) -> tf.Tensor:
        """Likeness of texts ``[B]`` to each of the pool: float32 ``[B, P]``, 0 where nothing is shared."""
        ids = self._ids(texts)
        places = tf.stack([ids.flat_values, tf.cast(ids.value_rowids(), tf.int32)], axis=1)
        shape = tf.stack([self._size, tf.cast(ids.nrows(), tf.int32)])
        held = tf.minimum(tf.scatter_nd(places, tf.ones_like(places[:, 0], tf.float32), shape), 1.0)  # [V, B]
        pool = tf.SparseTensor(np.stack([self.rows, self.tokens], axis=1), self.weights, [self._count, self._size])
        return tf.transpose(tf.sparse.sparse_dense_matmul(pool, held))

    def vectors(self) -> np.ndarray:
        """Vectors of length 1 for the pool's texts, ``[P, PROJECTED]``: the weights, projected at random."""
        projection = np.random.default_rng(0).standard_normal([self._size, PROJECTED]).astype(np.float32)
        sums = np.zeros([self._count, PROJECTED], np.float32)
        for row in range(self._count):  # the entries are sorted by row
            first, last = np.searchsorted(self.rows, [row, row + 1])
            sums[row] = self.weights[first:last] @ projection[self.tokens[first:last]]
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


def _counted(rows: np.ndarray, tokens: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and tokens that occur, int64 and sorted, and how often."""
    keys, counts = np.unique(rows.astype(np.int64) * size + tokens, return_counts=True)
    return keys // size, keys % size, counts.astype(np.float64)


def drawn(labels: Sequence[str], count: int, *, seed: int, balanced: bool) -> list[int]:
    """Rows of a pool at random: of each label in turn, or whatever comes."""
    order = np.random.default_rng(seed).permutation(len(labels))
    if not balanced:
        return order[:count].tolist()
    return _in_turn([[row for row in order.tolist() if labels[row] == label] for label in dict.fromkeys(labels)], count)


def diverse(vectors: np.ndarray, labels: Sequence[str], count: int, *, seed: int, balanced: bool) -> list[int]:
    """Rows of a pool that stand for all of it: those nearest to the centres of as many clusters.

    k-means with k-means++ (Arthur and Vassilvitskii 2007) over the vectors ``[P, D]``: of each label by itself, or of
    all together.
    """
    if not balanced:
        return _medoids(vectors, np.arange(len(labels)), count, seed)
    names = list(dict.fromkeys(labels))
    shares = [count // len(names) + (number < count % len(names)) for number in range(len(names))]
    of_label = [np.flatnonzero(np.array([label == name for label in labels])) for name in names]
    return _in_turn([_medoids(vectors, rows, share, seed) for rows, share in zip(of_label, shares, strict=True)], count)


def _in_turn(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """Members of groups, one of each in turn."""
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)][:count]


def _medoids(vectors: np.ndarray, rows: np.ndarray, count: int, seed: int) -> list[int]:
    """Those of the rows that are nearest to the centres of clusters; large clusters first."""
    count = min(count, len(rows))
    if count == 0:
        return []
    points, generator = vectors[rows].astype(np.float64), np.random.default_rng(seed)
    centres = points[[generator.integers(len(points))]]
    while len(centres) < count:
        near = np.min(_distances(points, centres), axis=1)
        share = near / near.sum() if near.sum() > 0 else None
        centres = np.concatenate([centres, points[[generator.choice(len(points), p=share)]]])
    for _ in range(_ROUNDS):
        nearest = _distances(points, centres).argmin(axis=1)
        moved = np.array(
            [points[nearest == one].mean(axis=0) if (nearest == one).any() else centres[one] for one in range(count)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    distances = _distances(points, centres)
    sizes = np.bincount(distances.argmin(axis=1), minlength=count)
    chosen: list[int] = []
    for one in np.argsort(-sizes, kind="stable"):
        distances[chosen] = np.inf  # a point stands for one cluster
        chosen.append(int(distances[:, one].argmin()))
    return rows[chosen].tolist()


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances ``[P, K]``."""
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1)[None, :] - 2.0 * points @ centres.T
    return np.maximum(squares, 0.0)


def most_alike(likeness, labels: np.ndarray, count: int, *, balanced: bool) -> tf.Tensor:
    """The rows of the pool that are most like each question, the most alike first.

    Args:
        likeness: float32 ``[B, P]``.
        labels: numbers of the pool's labels, int ``[P]``.
        count: how many; no more than P.
        balanced: whether each label has the same number of them, or one more.

    Returns:
        int32 ``[B, K]``.
    """
    if not balanced:
        return tf.math.top_k(likeness, count).indices
    names = np.unique(labels)
    share = -(-count // len(names))
    values, rows = [], []
    for name in names:
        of_label = np.flatnonzero(labels == name).astype(np.int32)
        best = tf.math.top_k(tf.gather(likeness, of_label, axis=1), min(share, len(of_label)))
        values.append(best.values)
        rows.append(tf.gather(of_label, best.indices))
    joined = tf.concat(values, axis=1)
    best = tf.math.top_k(joined, min(count, joined.shape[1])).indices
    return tf.gather(tf.concat(rows, axis=1), best, batch_dims=1)
