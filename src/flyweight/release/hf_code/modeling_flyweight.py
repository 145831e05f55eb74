# SPDX-License-Identifier: Apache-2.0
"""A Flyweight decoder for transformers 5: load it with `trust_remote_code=True`.

Everything the model computes is in this file. It runs with every attention backend of transformers, with
every cache, and with `generate`.

Shapes: B (batch), T (new positions), S (all positions so far), D (hidden), H (query heads), K (key/value
heads, each serving H/K query heads), C (head_dim), V (vocabulary).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from .configuration_flyweight import FlyweightConfig


class FlyweightRMSNorm(nn.Module):
    """x / rms(x), taken in float32 and cast back, then times the gain (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).to(x.dtype) * self.weight


class FlyweightMLP(nn.Module):
    """SwiGLU (arXiv 2002.05202), with gate and up in one matrix."""

    def __init__(self, config: FlyweightConfig):
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


def rotary_tables(position_ids: Tensor, config: FlyweightConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of RoPE's angles (arXiv 2104.09864), each (B, 1, T, C/2) in float32."""
    even = torch.arange(0, config.head_dim, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids.float()[:, None, :, None] * (1.0 / config.rope_theta ** (even / config.head_dim))
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (i, i + C/2) of `x` (B, H, T, C) by its angle; the result is float32."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def eager_attention(
    module: "FlyweightAttention",
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Attention spelled out, for those who want its weights: outputs (B, T, H, C), weights (B, H, T, S)."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def exclude_own_value(y: Tensor, value: Tensor) -> Tensor:
    """z = y - (y.v) v / |v|^2 for every head: attention adds what is orthogonal to the token's own value.

    Exclusive self-attention (arXiv 2603.09078, equation 2). `y` is (B, T, K, H/K, C), `value` (B, K, T, C):
    every query head takes the un-rotated value of its own key/value head. Only values of the tokens that `y`
    stands for are needed, so a cache holds nothing more than usual.
    """
    direction = F.normalize(value.float(), dim=-1, eps=1e-12).transpose(1, 2).unsqueeze(3)
    z = y.float()
    return (z - (z * direction).sum(dim=-1, keepdim=True) * direction).to(y.dtype)


class FlyweightAttention(nn.Module):
    """Grouped-query attention; rows of `qkv_proj` are all queries, then all keys, then all values."""

    def __init__(self, config: FlyweightConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_heads = config.num_key_value_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.attention_multiplier
        self.is_causal = True  # read by the attention backends
        self.heads = [config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads]
        self.qkv_proj = nn.Linear(config.hidden_size, sum(self.heads) * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * config.head_dim, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = FlyweightRMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = FlyweightRMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        rotary: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) to (B, T, D), and the attention weights where the backend gives them."""
        batch, length, _ = hidden_states.shape
        projected = self.qkv_proj(hidden_states).view(batch, length, sum(self.heads), self.head_dim)
        query, key, value = projected.transpose(1, 2).split(self.heads, dim=1)
        if self.config.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotate(query, *rotary).to(value.dtype), rotate(key, *rotary).to(value.dtype)

        keys, values = key, value
        if past_key_values is not None:
            keys, values = past_key_values.update(key, value, self.layer_idx)
        backend = self.config._attn_implementation or "eager"
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(backend, eager_attention)
        y, weights = attend(self, query, keys, values, attention_mask, scaling=self.scaling, **kwargs)
        y = y.reshape(batch, length, self.num_key_value_heads, -1, self.head_dim)
        if self.config.exclusive_attention:
            y = exclude_own_value(y, value)
        return self.o_proj(y.reshape(batch, length, -1)), weights


class FlyweightDecoderLayer(GradientCheckpointingLayer):
    """x + r * attention(norm(x)), then x + r * mlp(norm(x)), with r the residual multiplier."""

    def __init__(self, config: FlyweightConfig, layer_idx: int):
        super().__init__()
        self.residual = config.residual_multiplier
        self.input_layernorm = FlyweightRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = FlyweightAttention(config, layer_idx)
        self.post_attention_layernorm = FlyweightRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FlyweightMLP(config)

    def forward(self, x: Tensor, **kwargs) -> tuple[Tensor, Tensor | None]:
        """The residual stream (B, T, D) after this layer, and the attention weights if there are any."""
        attended, weights = self.self_attn(self.input_layernorm(x), **kwargs)
        x = torch.add(x, attended, alpha=self.residual)
        return torch.add(x, self.mlp(self.post_attention_layernorm(x)), alpha=self.residual), weights


class FlyweightPreTrainedModel(PreTrainedModel):
    """What transformers wants to know of the model."""

    config: FlyweightConfig
    config_class = FlyweightConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["FlyweightDecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True


class FlyweightModel(FlyweightPreTrainedModel):
    """Embedding, blocks, final norm."""

    def __init__(self, config: FlyweightConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            FlyweightDecoderLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = FlyweightRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Hidden states (B, T, D) after the final norm.

        `attention_mask` (B, S) is 0 at padding, on whichever side. `inputs_embeds` (B, T, D) are rows of the
        embedding, before its multiplier.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        config = self.config
        use_cache = config.use_cache if use_cache is None else use_cache
        if self.gradient_checkpointing and self.training:
            use_cache = False  # the backward pass would write to the cache a second time
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states

        embedded = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = past + torch.arange(embedded.shape[1], device=embedded.device)[None]
        mask = create_causal_mask(
            config=config,
            inputs_embeds=embedded,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rotary = rotary_tables(position_ids, config)

        x = embedded * config.embedding_multiplier
        states, attentions = (), ()
        for layer in self.layers:
            if output_hidden_states:
                states += (x,)
            x, weights = layer(
                x,
                rotary=rotary,
                attention_mask=mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
                output_attentions=output_attentions,
                **kwargs,
            )
            if output_attentions:
                attentions += (weights,)
        x = self.norm(x)
        return BaseModelOutputWithPast(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*states, x) if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
        )


class FlyweightForCausalLM(FlyweightPreTrainedModel, GenerationMixin):
    """The decoder with its readout."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: FlyweightConfig):
        super().__init__(config)
        self.model = FlyweightModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V), and the loss where `labels` (B, T) are given.

        `labels` are the input tokens themselves, -100 where nothing is to be scored; the shift by one happens
        here. `logits_to_keep` asks for the last so many positions only (0: all), or for those of an index.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept] * self.config.logit_scale)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["FlyweightForCausalLM", "FlyweightModel", "FlyweightPreTrainedModel"]
