"""From a directory's tensors to a model's and back, by a table of names.

Every family has one table: our parameter -> where its rows lie in Hugging Face's layout. Joining
and splitting copies bits; nothing is computed, so a round trip is exact.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from hanlin.errors import FormatError


@dataclass(frozen=True)
class Source:
    """Where one of our tensors comes from: the rows of `names`, one after the other."""

    names: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    """Rows each name holds; needed where there are several."""
    transpose: bool = False
    """Stored [in, out] (GPT-2's Conv1D); never together with several names."""
    shape: tuple[int, ...] | None = None
    """Stored shape, where it only differs by dimensions of one (final_logits_bias [1, V])."""


Table = dict[str, Source]


class Tensors(Protocol):
    """Named tensors that are read when asked for: shards of safetensors, or a GGUF file."""

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor there is, by Hugging Face's names."""
        ...

    def tensor(self, name: str, /, dtype: torch.dtype = ...) -> Tensor:
        """One tensor, as stored (a GGUF file's: float32) unless a `dtype` is given."""
        ...

    def shape(self, name: str, /) -> tuple[int, ...]:
        """One tensor's shape, without reading it."""
        ...


class Respelled:
    """Tensors of which some go by another name in the file than in the table."""

    def __init__(
        self,
        tensors: Tensors,
        wanted: Iterable[str],
        spellings: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._tensors = tensors
        self._stored = {name: name for name in tensors.tensor_names}
        for name in wanted:
            other = next((o for o in spellings(name) if o in self._stored), None)
            if name not in self._stored and other is not None:
                self._stored[name] = self._stored.pop(other)

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor there is, by the table's name where it has one."""
        return list(self._stored)

    def tensor(self, name: str, /, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, as the file's own reader gives it."""
        stored = self._stored[name]
        if dtype is None:
            return self._tensors.tensor(stored)
        return self._tensors.tensor(stored, dtype=dtype)

    def shape(self, name: str, /) -> tuple[int, ...]:
        """One tensor's shape, without reading it."""
        return self._tensors.shape(self._stored[name])


def linear(
    ours: str, *theirs: str, bias: bool, sizes: tuple[int, ...] = (), transpose: bool = False
) -> Iterator[tuple[str, Source]]:
    """Table lines of a (joined) linear layer: its weight and, with `bias`, its bias."""
    yield (
        f"{ours}.weight",
        Source(tuple(f"{name}.weight" for name in theirs), sizes, transpose=transpose),
    )
    if bias:
        yield f"{ours}.bias", Source(tuple(f"{name}.bias" for name in theirs), sizes)


def norm(ours: str, theirs: str, *, bias: bool) -> Iterator[tuple[str, Source]]:
    """Table lines of a norm."""
    return linear(ours, theirs, bias=bias)


@dataclass(frozen=True)
class Unread:
    """One of our tensors, checked and not yet read; call it to read it."""

    source: Source
    tensors: Tensors
    dtype: torch.dtype | None
    """None: as stored."""

    def __call__(self) -> Tensor:
        convert = {} if self.dtype is None else {"dtype": self.dtype}
        parts = [self.tensors.tensor(name, **convert) for name in self.source.names]
        if self.source.transpose:
            parts = [parts[0].t().contiguous()]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        return tensor.reshape(-1) if self.source.shape is not None else tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape it will have; raises FormatError where its parts cannot be joined so."""
        shapes = [self.tensors.shape(name) for name in self.source.names]
        for name, shape, size in zip_longest(self.source.names, shapes, self.source.sizes):
            alike = len(shapes) == 1 or (len(shape) > 0 and shape[1:] == shapes[0][1:])
            if (
                not alike
                or (size is not None and shape[0] != size)
                or (self.source.transpose and len(shape) > 2)
            ):
                raise FormatError(
                    f"{name} has shape {list(shape)}, which is not what config.json calls for. "
                    "They may belong to different models."
                )
        if self.source.shape is not None:
            return (prod(shapes[0]),)
        if self.source.transpose:
            return shapes[0][::-1]
        return shapes[0] if len(shapes) == 1 else (sum(s[0] for s in shapes), *shapes[0][1:])


def gather(
    table: Mapping[str, Source], tensors: Tensors, dtype: torch.dtype | None
) -> dict[str, Unread]:
    """Our state dict, to be read from `tensors`; raises FormatError naming what is missing."""
    held = set(tensors.tensor_names)
    missing = [name for source in table.values() for name in source.names if name not in held]
    if missing:
        raise FormatError(
            f"The weights lack {_some(missing)}. The file may be cut short, or belong to another "
            "model than config.json describes."
        )
    return {ours: Unread(source, tensors, dtype) for ours, source in table.items()}


def scatter(table: Mapping[str, Source], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `gather`: tensors by the names a directory has, contiguous."""
    out: dict[str, Tensor] = {}
    for ours, source in table.items():
        tensor = state[ours].detach()
        if source.transpose:
            tensor = tensor.t()
        if source.shape is not None:
            tensor = tensor.reshape(source.shape)
        if len(source.names) == 1:
            out[source.names[0]] = tensor.contiguous()
            continue
        for name, part in zip(source.names, torch.split(tensor, list(source.sizes)), strict=True):
            out[name] = part.contiguous()
    return out


def refuse_unknown(names: list[str], table: Mapping[str, Source], known: list[str]) -> None:
    """Raise FormatError for tensors that neither the table nor `known` accounts for."""
    expected = {name for source in table.values() for name in source.names} | set(known)
    unknown = [name for name in names if name not in expected]
    if unknown:
        raise FormatError(
            f"The weights hold {_some(unknown)}, which this model has no place for. "
            "config.json may name the wrong architecture."
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
