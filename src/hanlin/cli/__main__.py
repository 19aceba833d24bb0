"""``python -m hanlin.cli``: what torchrun starts."""

from hanlin.cli import main

main()
