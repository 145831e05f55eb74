"""The decoder: embedding, blocks, final norm, readout.

Shapes: B (batch), T (sequence), D (hidden), V (vocabulary).
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.base import derive_seed
from flyweight.model.attention import Attention, AttentionKernel, cached_causal_mask
from flyweight.model.cache import KVCache
from flyweight.model.documents import DocumentMask, Documents, document_mask, positions_of
from flyweight.model.layers import Embedding, Linear, RMSNorm, SwiGLU, rotary_tables, scaled
from flyweight.model.parametrization import Multipliers, Role, multipliers, parameter_roles, role_rules
from flyweight.model.placement import Placement
from flyweight.recipe import Model, Parametrization


class Block(nn.Module):
    """One pre-norm layer: attention, then feed-forward, each added to the residual stream.

    x + r * attention(norm(x)), then x + r * mlp(norm(x)), with r the residual multiplier.
    """

    def __init__(self, config: Model, factors: Multipliers, layer: int) -> None:
        super().__init__()
        self.residual = factors.residual
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, factors.attention, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | DocumentMask | None,
        cache: KVCache | None,
    ) -> Tensor:
        """The residual stream after this layer, (B, T, D) to (B, T, D)."""
        x = torch.add(x, self.self_attn(self.input_layernorm(x), rotary, mask, cache), alpha=self.residual)
        return torch.add(x, self.mlp(self.post_attention_layernorm(x)), alpha=self.residual)


class Decoder(nn.Module):
    """A Llama-style language model, with what its recipe asks for.

    Its parameters hold no values until `initialize` or `load_state_dict` gives them some. It computes in the
    dtype of its parameters, or under `torch.autocast` in bfloat16 with a residual stream in float32.
    """

    def __init__(self, model: Model, parametrization: Parametrization) -> None:
        super().__init__()
        self.config = model
        self.parametrization = parametrization
        self.multipliers = multipliers(model, parametrization)
        self.rope_theta = model.rope_theta
        """Base of the rotary positions: the configuration's, unless a training run moves it."""
        self.attention_kernel: AttentionKernel = "sdpa"
        self.embed_tokens = Embedding(model.vocab_size, model.hidden_size)
        self.layers = nn.ModuleList(
            Block(model, self.multipliers, layer) for layer in range(model.num_hidden_layers)
        )
        self.norm = RMSNorm(model.hidden_size, model.rms_norm_eps)
        self.lm_head = None if model.tie_word_embeddings else Linear(model.hidden_size, model.vocab_size)

    @property
    def readout_weight(self) -> Tensor:
        """The parameter (V, D) that turns hidden states into logits: the embedding's where they are tied."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        documents: Documents | None = None,
        placement: Placement | None = None,
    ) -> Tensor:
        """Hidden states after the final norm, (B, T, D), of `tokens` (B, T) int64.

        With a cache, `tokens` follow those that it holds: it is read and extended in place. With documents, each is
        computed as if it stood alone: positions start at 0 with it, and attention stops at its borders. A placement
        says for each token where it stands and what it sees, those in the cache included.
        """
        past = 0 if cache is None else cache.length
        length = tokens.shape[1]
        mask: Tensor | DocumentMask | None
        if placement is not None:
            assert documents is None
            positions, mask = placement.positions.unsqueeze(1), placement.mask
        elif documents is None:
            positions = torch.arange(past, past + length, device=tokens.device)
            mask = cached_causal_mask(past, length, tokens.device) if past and length > 1 else None
        else:
            assert cache is None
            positions = positions_of(documents).unsqueeze(1)  # the same for all heads
            mask = document_mask(documents, self.attention_kernel, self.norm.weight.dtype)
        rotary = rotary_tables(positions, self.config.head_dim, self.rope_theta)
        x = scaled(self.embed_tokens(tokens), self.multipliers.embedding)
        for block in self.layers:
            x = block(x, rotary, mask, cache)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)

    def use_attention(self, kernel: AttentionKernel) -> None:
        """What computes attention where gradients are wanted; everywhere else it is torch's fused kernel."""
        self.attention_kernel = kernel
        for module in self.modules():
            if isinstance(module, Attention):
                module.kernel = kernel

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., D), the logits multiplier included."""
        # The multiplier goes on the D numbers of a hidden state, not on the V of its logits: same product.
        return F.linear(scaled(hidden, self.multipliers.logits), self.readout_weight)

    @torch.no_grad()
    def initialize(self, seed: int) -> Self:
        """Draw every matrix from N(0, std^2) with its role's std, set every gain to 1, and return self.

        Each parameter has its own random stream, named after it and drawn on the CPU in float32: its values
        depend on nothing but the seed, its name, shape and std, and are the same on every device.
        """
        rules, roles = role_rules(self.config, self.parametrization), parameter_roles(self)
        for name, parameter in self.named_parameters():
            if roles[name] is Role.GAIN:
                parameter.fill_(1.0)
                continue
            generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "init", name))
            std = rules[roles[name]].init_std
            parameter.copy_(torch.empty(parameter.shape, device="cpu").normal_(0.0, std, generator=generator))
        return self
