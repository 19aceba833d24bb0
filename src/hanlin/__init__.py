"""hanlin: the whole life of a language model in one library and one command."""

__version__ = "0.1.0"
