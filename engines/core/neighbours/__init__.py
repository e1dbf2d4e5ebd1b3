"""Nearest rows of a table of vectors by Euclidean distance, exact, and what their labels say together."""

from engines.core.neighbours.search import Nearest, NearestSearch, nearest
from engines.core.neighbours.vote import Vote, vote

__all__ = ["Nearest", "NearestSearch", "Vote", "nearest", "vote"]
