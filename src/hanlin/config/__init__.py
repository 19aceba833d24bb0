"""Settings: a YAML file, or a mapping, with ``key.path=value`` overrides, to a checked dataclass.

`read_config` reads, `write_config` writes back what was resolved. Settings are frozen dataclasses
of the standard library; pydantic does the work on types (docs/decisions/0007).
"""

from hanlin.config.plain import refuse, written_as
from hanlin.config.reading import check, read_config, read_mapping
from hanlin.config.writing import descriptions, to_plain, write_config

__all__ = [
    "check",
    "descriptions",
    "read_config",
    "read_mapping",
    "refuse",
    "to_plain",
    "write_config",
    "written_as",
]
