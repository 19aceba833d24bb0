"""Attention: multi-head, grouped-query and multi-query, over oneself and over an encoder's output.

Vaswani et al. 2017; grouped queries: Ainslie et al. 2023; score caps: Gemma 2. The query, key and
value projections are one matrix, so that a token is projected in one product; directories hold them
apart (`models/weights.py` splits and joins them, bit for bit).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.kernels.attention import attend, attend_packed
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig
from hanlin.models.layers import Linear, RMSNorm, dropped, narrow_type, trains_here
from hanlin.models.masks import Span
from hanlin.models.positions import rotate


class Attention(nn.Module):
    """Self-attention, or with `cross` attention over an encoder's output."""

    def __init__(
        self, config: ModelConfig, *, heads: int, kv_heads: int, channels: int, cross: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.channels = heads, kv_heads, channels
        self.scale = channels**-0.5 if config.attention_scale is None else config.attention_scale
        self.softcap = config.attention_softcap
        self.dropout = config.attention_dropout
        width, bias = config.hidden_size, config.attention_bias
        if cross:
            self.q = Linear(width, heads * channels, bias=bias)
            self.kv = Linear(width, 2 * kv_heads * channels, bias=bias)
        else:
            self.qkv = Linear(width, (heads + 2 * kv_heads) * channels, bias=bias)
        self.out = Linear(heads * channels, width, bias=config.attention_out_bias)
        if config.qk_norm:
            eps, plus_one = config.norm_eps, config.norm_plus_one
            self.q_norm: nn.Module | None = RMSNorm(channels, eps=eps, plus_one=plus_one)
            self.k_norm: nn.Module | None = RMSNorm(channels, eps=eps, plus_one=plus_one)
        else:
            self.q_norm = self.k_norm = None

    def forward(
        self,
        x_BTD: Tensor,
        span: Span,
        layer: int,
        *,
        sliding: bool = False,
        rotation: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Self-attention over the span, reading and extending its cache if it has one."""
        B, T, _ = x_BTD.shape
        H, K, C = self.heads, self.kv_heads, self.channels
        qkv = self.qkv(x_BTD).view(B, T, H + 2 * K, C)
        if span.cache is None and self._trains_narrow(qkv, traced=span.bias is None):
            return self._finish(self._attend_training(qkv, span, sliding, rotation))
        # Split rather than sliced: the gradients of slices are sums of padded copies.
        qkv = qkv.transpose(1, 2)
        qk, v = torch.split(qkv, [H + K, K], 1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = torch.split(qk, [H, K], 1)
            qk = torch.cat([self.q_norm(q), self.k_norm(k)], 1)
        if rotation is not None:
            qk = rotate(qk, *rotation)
        q, k = torch.split(qk, [H, K], 1)
        if span.cache is None:
            mask, causal = span.mask(0, sliding=sliding)
            return self._finish(self._attend(q, k, v, mask, causal=causal))
        span.cache.write(layer, span.groups, k, v)
        return self._finish(self._attend_cached(q, span, span.cache, layer, sliding=sliding))

    def _trains_narrow(self, projected: Tensor, *, traced: bool) -> bool:
        """Whether the kernel for training stands in: bfloat16 on a CPU, without caps or dropout.

        traced: whether a compiler may meet it here.
        """
        return (
            narrow_type(projected) == projected.dtype
            and (traced or not torch.compiler.is_compiling())
            and self.softcap is None
            and not (self.training and self.dropout)
        )

    def _attend_training(
        self,
        qkv_BTPC: Tensor,
        span: Span,
        sliding: bool,
        rotation: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        H, K = self.heads, self.kv_heads
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = torch.split(qkv_BTPC, [H, K, K], 2)
            qkv_BTPC = torch.cat([self.q_norm(q), self.k_norm(k), v], 2)
        if rotation is not None:
            cos, sin = (t.to(qkv_BTPC.dtype) for t in rotation)
            # A table for all rows is [T, C], one for each [B, 1, T, C].
            rotation = (
                (cos.unsqueeze(1), sin.unsqueeze(1))
                if cos.dim() == 2
                else (cos.transpose(1, 2), sin.transpose(1, 2))
            )
        y_BTHC = attend_packed(
            qkv_BTPC,
            heads=H,
            kv_heads=K,
            scale=self.scale,
            mask=span.added(sliding=sliding, dtype=qkv_BTPC.dtype),
            causal=span.causal,
            rotation=rotation,
        )
        return y_BTHC.transpose(1, 2)

    def _attend_cached(
        self, q_BHTC: Tensor, span: Span, cache: Cache, layer: int, *, sliding: bool
    ) -> Tensor:
        T, parts = q_BHTC.shape[2], []
        for group in span.groups:
            end = group.start + T
            first = 0
            if sliding and T == 1 and span.window is not None and span.bias is None:
                first = max(0, end - span.window)
            k, v = cache.keys[layer], cache.values[layer]
            if not group.all:
                k, v = k[group.cache_rows], v[group.cache_rows]
            k, v = (t.narrow(2, first, end - first) for t in (k, v))
            if k.dtype != q_BHTC.dtype:
                k, v = k.to(q_BHTC.dtype), v.to(q_BHTC.dtype)
            mask, causal = (None, False) if first else span.mask(group.start, sliding=sliding)
            q = q_BHTC if group.all else q_BHTC[group.rows]
            parts.append(self._attend(q, k, v, mask, causal=causal))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cross(self, x_BTD: Tensor, span: Span, layer: int) -> Tensor:
        """Attention over the encoder's output, from the span's memory or its cache."""
        B, T, _ = x_BTD.shape
        q = self.q(x_BTD).view(B, T, self.heads, self.channels).transpose(1, 2)
        if span.cache is None:
            assert span.memory is not None
            if self._trains_narrow(q, traced=False):
                k, v = (t.transpose(1, 2) for t in self.project_source(span.memory))
                y = attend(
                    q.transpose(1, 2), k, v, scale=self.scale, mask=span.memory_added(q.dtype)
                )
                return self._finish(y.transpose(1, 2))
            k, v = (t.to(q.dtype) for t in self.project_source(span.memory))
            return self._finish(self._attend(q, k, v, span.memory_mask, causal=False))
        sources = [span.cache.sources[row][layer] for row in span.rows]
        parts, first = [], 0
        while first < B:
            # Neighbours with the very same source (a beam) share one call.
            last = first + 1
            while last < B and sources[last][0] is sources[first][0]:
                last += 1
            k, v = (t.to(q.dtype).expand(last - first, -1, -1, -1) for t in sources[first])
            parts.append(self._attend(q[first:last], k, v, None, causal=False))
            first = last
        return self._finish(parts[0] if len(parts) == 1 else torch.cat(parts))

    def project_source(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, K, S, C] of an encoder's output."""
        B, S, _ = memory_BSD.shape
        kv = self.kv(memory_BSD).view(B, S, 2 * self.kv_heads, self.channels).transpose(1, 2)
        k, v = torch.split(kv, self.kv_heads, 1)
        return k, v

    def _attend(
        self, q_BHTC: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool
    ) -> Tensor:
        B, H, T, C = q_BHTC.shape
        K = k.shape[1]
        dropout = self.dropout if self.training else 0.0
        if self.softcap is not None or (dropout and trains_here(q_BHTC)):
            # PyTorch's own attention knows no cap, and on a CPU takes this way too for dropout.
            return self._attend_plainly(q_BHTC, k, v, mask, causal=causal, dropout=dropout)
        if H != K and T == 1 and (mask is None or mask.shape[1] == 1):
            # One token: the queries that share a key head are rows of one small product.
            q = q_BHTC.reshape(B, K, H // K, C)
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=self.scale)
            return y.reshape(B, H, 1, C)
        return F.scaled_dot_product_attention(
            q_BHTC, k, v, mask, dropout, is_causal=causal, scale=self.scale, enable_gqa=H != K
        )

    def _attend_plainly(
        self,
        q_BHTC: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        *,
        causal: bool,
        dropout: float,
    ) -> Tensor:
        repeats = q_BHTC.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        scores = q_BHTC @ k.transpose(-1, -2) * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if causal:
            T, S = scores.shape[-2:]
            mask = torch.ones(T, S, dtype=torch.bool, device=scores.device).tril(S - T)
        if mask is not None:
            if mask.dtype == torch.bool:
                scores = scores.masked_fill(~mask, float("-inf"))
            else:
                scores = scores + mask
        wide = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(-1, dtype=wide).to(v.dtype)
        return (dropped(weights, dropout) if dropout else weights) @ v

    def _finish(self, y_BHTC: Tensor) -> Tensor:
        B, _, T, _ = y_BHTC.shape
        y = y_BHTC.transpose(1, 2).reshape(B, T, self.heads * self.channels)
        return self.out(y)  # type: ignore[no-any-return]
