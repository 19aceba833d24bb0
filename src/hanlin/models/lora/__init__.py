"""Adapters: a few learnt numbers beside a model that stays as it is (LoRA, Hu et al. 2021).

    apply_lora(network, LoraSettings(rank=16))    # then train; only the adapter is learnt
    save_adapter(network, "runs/a", base="smollm2-135m")
    load_adapter(network, "runs/b", name="b")     # a second one; use(network, "default") switches
    merge(network)                                # a plain network that does the same

Files are PEFT's, both ways.
"""

from typing import TYPE_CHECKING

from hanlin.lazy import names_of

if TYPE_CHECKING:
    from hanlin.models.lora.adapters import (
        DEFAULT,
        apply_lora,
        disabled,
        lora_parameters,
        merge,
        use,
    )
    from hanlin.models.lora.directory import base_of, load_adapted
    from hanlin.models.lora.files import load_adapter, save_adapter
    from hanlin.models.lora.peft_config import is_adapter
    from hanlin.models.lora.settings import LoraSettings

__all__ = [
    "DEFAULT",
    "LoraSettings",
    "apply_lora",
    "base_of",
    "disabled",
    "is_adapter",
    "load_adapted",
    "load_adapter",
    "lora_parameters",
    "merge",
    "save_adapter",
    "use",
]

# `settings` are read by runs' settings, which do without torch.
__getattr__ = names_of(
    __name__,
    {
        "DEFAULT": "adapters",
        "LoraSettings": "settings",
        "apply_lora": "adapters",
        "base_of": "directory",
        "disabled": "adapters",
        "is_adapter": "peft_config",
        "load_adapted": "directory",
        "load_adapter": "files",
        "lora_parameters": "adapters",
        "merge": "adapters",
        "save_adapter": "files",
        "use": "adapters",
    },
)
