"""Which passages of documents a question is about: BM25 over their words, vectors, or both."""

from hanlin.tasks.retrieval.bm25 import Bm25
from hanlin.tasks.retrieval.passages import Passage, read_passages, split_passages
from hanlin.tasks.retrieval.vectors import Vectors, fuse

__all__ = ["Bm25", "Passage", "Vectors", "fuse", "read_passages", "split_passages"]
