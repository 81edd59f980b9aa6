"""T5 and mT5 as two graphs made for generating many short texts from each prompt.

*encoder*: a prompt goes in, what the decoder attends to comes out: for every layer of the decoder
the cross-attention's keys and values, made once for all texts of the prompt.

*decoder*: one step. ``prompts`` prompts times ``texts`` texts each go in; the texts of one prompt
share its cross-attention, as if they were positions of one sequence, so nothing is repeated. The
cache of earlier positions is read where it lies and never copied: a step gives out only the new
position's keys and values, and the caller writes them into the cache. Of the logits only the best
leave the graph, with the best one's probability: that costs a tenth of the logarithm of the sum of
all exponentials, and says the same.

This module needs torch; see :mod:`xqg_qdrant.export.generator` for what uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

GROUP = 128
"""Logits that are first compared among themselves, when the best of all are sought."""

_MASKED = -1e9


class EncoderGraph(nn.Module):  # type: ignore[misc]
    """Prompts to the keys and values that each layer of the decoder attends to.

    Inputs: ``input_ids``, ``attention_mask``: int64 (prompts, tokens).

    Outputs, for each layer: ``cross_key`` float32 (prompts, heads, head_dim, tokens), turned for
    the product with queries, and ``cross_value`` float32 (prompts, heads, tokens, head_dim).
    """

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        super().__init__()
        self.encoder = model.encoder
        attentions = [block.layer[1].EncDecAttention for block in model.decoder.block]
        self.heads = model.config.num_heads
        self.head_dim = model.config.d_kv
        # One product for the keys and values of every layer.
        weights = [weight for each in attentions for weight in (each.k.weight, each.v.weight)]
        self.project = _linear(weights)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        prompts, tokens = input_ids.shape
        parts = self.project(hidden).split(self.heads * self.head_dim, dim=-1)
        outputs = []
        for number, part in enumerate(parts):
            part = part.reshape(prompts, tokens, self.heads, self.head_dim)
            outputs.append(part.permute(0, 2, 1, 3) if number % 2 else part.permute(0, 2, 3, 1))
        return tuple(outputs)


class DecoderGraph(nn.Module):  # type: ignore[misc]
    """One step of decoding.

    Inputs: ``input_ids`` int64 (prompts, texts), the last token of each text; ``position`` int64
    (1,), how many positions are in the cache; ``top_k`` int64 (1,); ``attention_mask`` int64
    (prompts, tokens) of the prompts; then for each layer ``past_key`` (prompts * texts, heads,
    head_dim, room), ``past_value`` (prompts * texts, heads, room, head_dim), ``cross_key`` and
    ``cross_value`` as the encoder gives them, all float32.

    Outputs: ``logits`` float32 and ``token_ids`` int64 (prompts * texts, top_k), best first;
    ``top_probability`` float32 (prompts * texts,), that of the best token among all, from which
    follow those of the others; then for each layer ``key`` and ``value`` float32 (prompts * texts,
    heads, head_dim) of the new position.
    """

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        super().__init__()
        config = model.config
        self.heads, self.head_dim = config.num_heads, config.d_kv
        self.embedding = model.decoder.embed_tokens
        self.final_norm = model.decoder.final_layer_norm
        # Tied models scale what they compare with their own embeddings.
        self.scale = config.d_model**-0.5 if config.tie_word_embeddings else 1.0
        self.head = model.lm_head
        self.layers = nn.ModuleList([_Layer(block, config) for block in model.decoder.block])
        first = model.decoder.block[0].layer[0].SelfAttention
        # All distances from the last bucket's on share one bias.
        farthest = config.relative_attention_max_distance + 1
        with torch.no_grad():
            biases = first.compute_bias(1, farthest, cache_position=torch.tensor([farthest - 1]))
        self.register_buffer("bias_by_distance", biases[0, :, 0].flip(-1).contiguous())

    def forward(
        self,
        input_ids: Tensor,
        position: Tensor,
        top_k: Tensor,
        attention_mask: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        """See the class."""
        hidden = self.embedding(input_ids)
        room = caches[0].shape[-1]
        distance = position - torch.arange(room)
        farthest = self.bias_by_distance.shape[-1] - 1
        bias = self.bias_by_distance[:, distance.clamp(0, farthest)]
        bias = torch.where(distance > 0, bias, torch.full_like(bias, _MASKED))
        # The new position comes last.
        bias = torch.cat([bias, self.bias_by_distance[:, :1]], dim=-1)[None, :, None, :]
        mask = (1.0 - attention_mask[:, None, None, :].float()) * _MASKED
        made: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            past = caches[4 * number : 4 * number + 4]
            hidden, key, value = layer(hidden, bias, mask, *past)
            made += [key, value]
        hidden = self.final_norm(hidden) * self.scale
        logits = self.head(hidden).flatten(0, 1)
        return (*_best(logits, top_k), torch.softmax(logits, dim=-1).amax(-1), *made)


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, block: Any, config: Any) -> None:
        super().__init__()
        self.heads, self.head_dim = config.num_heads, config.d_kv
        own, cross, feed = block.layer
        self.own_norm, self.cross_norm, self.feed_norm = (each.layer_norm for each in block.layer)
        attention = own.SelfAttention
        self.own_in = _linear([attention.q.weight, attention.k.weight, attention.v.weight])
        self.own_out = attention.o
        self.cross_in = cross.EncDecAttention.q
        self.cross_out = cross.EncDecAttention.o
        dense = feed.DenseReluDense
        self.gated = hasattr(dense, "wi_0")
        self.feed_in = _linear([dense.wi_0.weight, dense.wi_1.weight]) if self.gated else dense.wi
        self.feed_out = dense.wo
        self.activation = _activation(config, dense.act)

    def forward(
        self,
        hidden: Tensor,
        bias: Tensor,
        mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        cross_key: Tensor,
        cross_value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        prompts, texts = hidden.shape[0], hidden.shape[1]
        width = self.heads * self.head_dim

        made = self.own_in(self.own_norm(hidden)).reshape(-1, 3, self.heads, self.head_dim)
        query, key, value = made.unbind(1)
        past = torch.matmul(query[:, :, None], past_key)
        new = (query * key).sum(-1, keepdim=True)[:, :, None]
        weights = torch.softmax(torch.cat([past, new], dim=-1) + bias, dim=-1)
        context = torch.matmul(weights[..., :-1], past_value)[:, :, 0]
        context = context + weights[:, :, 0, -1:] * value
        hidden = hidden + self.own_out(context.reshape(prompts, texts, width))

        query = self.cross_in(self.cross_norm(hidden))
        query = query.reshape(prompts, texts, self.heads, self.head_dim).permute(0, 2, 1, 3)
        weights = torch.softmax(torch.matmul(query, cross_key) + mask, dim=-1)
        context = torch.matmul(weights, cross_value).permute(0, 2, 1, 3)
        hidden = hidden + self.cross_out(context.reshape(prompts, texts, width))

        inner = self.feed_in(self.feed_norm(hidden))
        if self.gated:
            gate, straight = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * straight
        else:
            inner = self.activation(inner)
        return hidden + self.feed_out(inner), key, value


def _best(logits: Tensor, top_k: Tensor) -> tuple[Tensor, Tensor]:
    """The ``top_k`` best of each row: logits and columns, best first.

    A column among the k best stands in a group whose own best is among the k best of the groups,
    so only k groups need to be searched. Their maxima are found at the speed of memory.
    """
    columns = logits.shape[1]
    if columns % GROUP:
        best = torch.topk(logits, top_k[0])
        return best.values, best.indices
    grouped = logits.reshape(-1, columns // GROUP, GROUP)
    groups = torch.topk(grouped.amax(-1), torch.minimum(top_k, torch.tensor([columns // GROUP]))[0])
    inside = torch.arange(GROUP)
    candidates = (groups.indices[:, :, None] * GROUP + inside).flatten(1)
    chosen = torch.topk(logits.gather(1, candidates), top_k[0])
    return chosen.values, candidates.gather(1, chosen.indices)


def _linear(weights: list[Tensor]) -> nn.Linear:
    """Several matrices without biases that are multiplied by the same thing, as one."""
    joined = torch.cat([weight.detach() for weight in weights])
    linear = nn.Linear(joined.shape[1], joined.shape[0], bias=False)
    linear.weight = nn.Parameter(joined, requires_grad=False)
    return linear


def _activation(config: Any, given: nn.Module) -> nn.Module:
    # The same function as one operator instead of eight.
    return nn.GELU(approximate="tanh") if config.dense_act_fn == "gelu_new" else given
