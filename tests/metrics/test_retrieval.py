import numpy as np

from kzoo import metrics

QUERIES = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1]])
DOCUMENTS = np.array([[2.0, 0.2], [1.0, 0.1], [-1.0, 1.0], [1.0, 0.0]])


def test_the_place_is_that_among_all_different_documents():
    ranks = metrics.ranks_of_pairs(QUERIES, DOCUMENTS, list("abcd"), list("ABCD"))
    assert ranks.tolist() == [3, 3, 4, 3]  # A and B lie alike: a tie counts against the right one
    assert metrics.recall_at(ranks, 3) == 0.75
    assert metrics.reciprocal_rank([1, 2, 4]) == (1 + 0.5 + 0.25) / 3


def test_equal_documents_are_one_and_each_pair_of_a_text_is_right():
    same = DOCUMENTS[[0, 0, 2, 3]]
    assert metrics.ranks_of_pairs(QUERIES, same, list("abcd"), list("AACD")).tolist() == [2, 2, 3, 2]
    assert metrics.ranks_of_pairs(QUERIES, same, list("abca"), list("AACD")).tolist() == [1, 2, 3, 1]
