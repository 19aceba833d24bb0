"""What hanlin raises when the user, a file or a setting is at fault.

Every message is one sentence that says what is wrong and one that says what to do next. The command
line prints the message alone and exits with 2; a bug in hanlin itself is any other exception.
"""


class HanlinError(Exception):
    """Something outside hanlin is wrong; the message names it and the remedy."""


class ConfigError(HanlinError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class FormatError(HanlinError, ValueError):
    """A file is not what its name says: truncated, malformed, or of an unsupported kind."""


class NotFoundError(HanlinError, LookupError):
    """A model, file or tensor that was named does not exist."""


class InputError(HanlinError, ValueError):
    """A prompt or text cannot be used as it stands: empty, too long, not text."""


def nearest(name: str, known: list[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to `name`, or an empty string."""
    import difflib

    match = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {match[0]!r}?" if match else ""
