"""Search by meaning: texts with their vectors in an index, and a model that carries its corpus along."""

from kzoo.search.index import Hit, Index
from kzoo.search.served import Search

__all__ = ["Hit", "Index", "Search"]
