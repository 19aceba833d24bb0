"""How well entities are found in tagged tokens: precision, recall and F1 of whole spans.

An entity is right where its first token, its last and its type are right (CoNLL-2000, Tjong Kim Sang and
Buchholz). Tags are read as the conlleval script reads them, which makes the best of tags that break their scheme: an
entity begins at B (or S), after O or another type, and after E; in strict mode only entities that keep to
the scheme count. Both are as in seqeval.

Shapes: N sentences.
"""

from typing import Literal

Scheme = Literal["IOB1", "IOB2", "BIOES"]
Entity = tuple[str, int, int]
"""Type, first token, last token."""
