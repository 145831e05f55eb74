"""Documents in one sequence: each is computed as if it stood alone, by every kernel."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.attention import varlen

from flyweight.model import Decoder, documents
from flyweight.model.documents import FLEX_BLOCK, find_documents, flex_mask, positions_of, visible_keys
from flyweight.model.layers import rotary_tables

LENGTH = 23
BORDERS = ([5, 6, 17], [])
"""Of two sequences: a document of a single token among the first's."""


def begins_from(borders: tuple[list[int], ...], length: int) -> Tensor:
    rows = [[max([0, *(p for p in places if p <= t)]) for t in range(length)] for places in borders]
    return torch.tensor(rows, dtype=torch.int32)


def packed(borders: tuple[list[int], ...] = BORDERS, length: int = LENGTH) -> documents.Documents:
    return find_documents(begins_from(borders, length + 1))


def parts(borders: tuple[list[int], ...] = BORDERS, length: int = LENGTH) -> list[tuple[int, slice]]:
    """Row and place of every document."""
    return [
        (row, slice(begin, end))
        for row, places in enumerate(borders)
        for begin, end in itertools.pairwise([0, *places, length])
    ]


@torch.library.custom_op("flyweight_tests::packed_attention", mutates_args=())
def _packed_attention(query: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, scale: float) -> Tensor:
    group = query.shape[1] // keys.shape[1]
    result = torch.empty_like(query)
    for begin, end in itertools.pairwise(offsets.tolist()):
        q, k, v = (x[begin:end].transpose(0, 1) for x in (query, keys, values))
        scores = scale * q @ k.repeat_interleave(group, 0).transpose(1, 2)
        scores += torch.full(scores.shape[1:], float("-inf")).triu(1)
        result[begin:end] = (scores.softmax(-1) @ v.repeat_interleave(group, 0)).transpose(0, 1)
    return result


@_packed_attention.register_fake
def _(query: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, scale: float) -> Tensor:
    return torch.empty_like(query)


def stand_in(query, keys, values, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa):
    """What varlen_attn computes, forward only, where there is no GPU to ask; its contract is checked on the way."""
    assert window_size == (-1, 0)
    assert enable_gqa == (query.shape[1] != keys.shape[1])
    assert max_q == max_k
    assert cu_seq_q is cu_seq_k
    assert cu_seq_q.dtype == torch.int32
    return _packed_attention(query, keys, values, cu_seq_q, scale)


@pytest.fixture(params=["sdpa", "blocks", "varlen", "flex"])
def kernel(request, monkeypatch) -> str:
    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    return request.param


SHAPES = [
    {},
    {"exclusive_attention": True, "qk_norm": True},
    {"num_key_value_heads": 6},
]


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
@pytest.mark.parametrize("shape", SHAPES)
def test_each_document_is_computed_as_if_alone(make_decoder, tokens, kernel, shape) -> None:
    decoder = make_decoder(**shape)
    decoder.use_attention(kernel)
    with torch.no_grad():
        together = decoder(tokens, documents=packed())
        whole = decoder(tokens)
        for row, place in parts():
            alone = decoder(tokens[row : row + 1, place])
            torch.testing.assert_close(together[row, place], alone[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(together[1], whole[1], atol=2e-5, rtol=1e-4)  # one document, nothing to mask
    assert not torch.allclose(together[0, 6:], whole[0, 6:], atol=1e-2)


@pytest.mark.parametrize("kernel", ["sdpa", "blocks"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_documents_alone(make_decoder, tokens, kernel, shape) -> None:
    decoder = make_decoder(**shape).double()
    decoder.use_attention(kernel)
    names = [name for name, _ in decoder.named_parameters()]
    upper = torch.sin(torch.arange(2 * LENGTH * 48, dtype=torch.float64)).view(2, LENGTH, 48)
    together = torch.autograd.grad((decoder(tokens, documents=packed()) * upper).sum(), decoder.parameters())
    decoder.use_attention("sdpa")
    alone = sum((decoder(tokens[r : r + 1, p]) * upper[r, p]).sum() for r, p in parts())
    expected = torch.autograd.grad(alone, decoder.parameters())
    for name, mine, theirs in zip(names, together, expected, strict=True):
        # The tables of the positions are float32 in either.
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
def test_no_document_influences_another(make_decoder, tokens, kernel) -> None:
    """Changing a document leaves what is computed of all others as it is, bit for bit."""
    decoder = make_decoder(exclusive_attention=True, qk_norm=True)
    decoder.use_attention(kernel)
    with torch.no_grad():
        before = decoder(tokens, documents=packed())
        for row, place in parts():
            other = tokens.clone()
            other[row, place] = (other[row, place] + 1) % 97
            after = decoder(other, documents=packed())
            changed = torch.zeros(2, LENGTH, dtype=torch.bool)
            changed[row, place] = True
            assert torch.equal(before[~changed], after[~changed])
            assert not torch.equal(before[changed], after[changed])


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
def test_other_borders_bring_no_recompilation(make_decoder, tokens, kernel) -> None:
    """Borders elsewhere, more and fewer documents: the blocks are compiled once."""
    compiled = []

    def count(graph, _example):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    decoder: Decoder = make_decoder(num_hidden_layers=1)
    decoder.use_attention(kernel)
    decoder.layers[0].compile(backend=count, dynamic=False)
    needs_gradients = kernel in ("sdpa", "blocks")
    with torch.set_grad_enabled(needs_gradients):
        seen = []
        for borders in (
            ([3], []),
            ([], []),
            ([1, 2, 3, 4], [9, 20]),
            ([22], [11]),
            (list(range(1, 23)), [7]),
        ):
            y = decoder(tokens, documents=packed(borders))
            seen.append(len(compiled))
            if needs_gradients:
                y.sum().backward()
    torch._dynamo.reset()
    assert seen[0] > 0
    assert seen == seen[:1] * 5


def test_torchs_own_varlen_attention_is_compiled_once_forward_and_backward(make_decoder) -> None:
    """On the meta device: the real function and its gradient, with everything but numbers."""
    if not documents.varlen_is_known():
        pytest.skip("this torch's varlen_attn lacks parameters that are needed")
    compilations = []

    def count(graph, example):
        compilations.append(graph)
        return aot_eager(graph, example)

    torch._dynamo.reset()
    decoder = make_decoder(num_hidden_layers=1, exclusive_attention=True, qk_norm=True).bfloat16().to("meta")
    decoder.use_attention("varlen")
    decoder.layers[0].compile(backend=count, dynamic=False)
    tokens = torch.zeros(2, LENGTH, dtype=torch.int64, device="meta")
    for borders in (([3], []), ([], []), ([1, 2, 3, 4], [9, 20]), (list(range(1, 23)), [7])):
        y = decoder(tokens, documents=packed(borders).to(torch.device("meta")))
        gradients = torch.autograd.grad(y.sum(), decoder.parameters())
        assert [g.shape for g in gradients] == [p.shape for p in decoder.parameters()]
    torch._dynamo.reset()
    assert len(compilations) == 1


@st.composite
def placed(draw) -> tuple[tuple[list[int], ...], int]:
    length = draw(st.integers(1, 40))
    rows = draw(st.integers(1, 3))
    places = st.lists(st.integers(0, length), unique=True).map(sorted)
    return tuple(draw(places) for _ in range(rows)), length


@given(placed())
@settings(max_examples=60, deadline=None)
def test_documents_are_found_where_they_begin(case) -> None:
    borders, length = case
    found = packed(borders, length)
    expected = [
        row * length + t for row, places in enumerate(borders) for t in range(length) if t == 0 or t in places
    ]
    assert found.offsets.tolist() == [*expected, len(borders) * length]
    assert found.offsets.dtype == torch.int32
    for row, places in enumerate(borders):
        for t in range(length):
            first = max([0, *(p for p in places if p <= t)])
            assert positions_of(found)[row, t] == t - first
            assert found.scored[row, t] == (t + 1 not in places)
            assert visible_keys(found.begins)[row, 0, t].nonzero().flatten().tolist() == [
                *range(first, t + 1)
            ]


@pytest.mark.parametrize("length", [1, 100, 128, 129, 300, 512, 777])
def test_flex_computes_every_block_that_is_seen_and_no_other(length) -> None:
    generator = torch.Generator().manual_seed(length)
    borders = tuple(
        sorted(set(torch.randint(0, length, (count,), generator=generator).tolist()))
        for count in (0, 1, 3, 12)
    )
    begins = packed(borders, length).begins
    mask, seen = flex_mask(begins), visible_keys(begins)
    blocks = -(-length // FLEX_BLOCK)
    missing = blocks * FLEX_BLOCK - length

    def tiles(beyond: bool) -> Tensor:
        """By block of queries and of keys, with rows for queries past the end that see all or nothing."""
        wide = torch.nn.functional.pad(seen, (0, missing, 0, 0))
        padded = torch.nn.functional.pad(wide, (0, 0, 0, missing), value=beyond)
        return padded.unflatten(3, (blocks, -1)).unflatten(2, (blocks, -1)).transpose(3, 4)

    any_seen, all_seen = tiles(False).any(-1).any(-1), tiles(True).all(-1).all(-1)
    computed, whole = (
        _dense(mask.kv_num_blocks, mask.kv_indices),
        _dense(mask.full_kv_num_blocks, mask.full_kv_indices),
    )
    assert torch.equal(computed | whole, any_seen)
    assert not (computed & whole).any()
    assert (all_seen | ~whole).all()
    lower = torch.ones(blocks, blocks, dtype=torch.bool).tril(-1)
    assert torch.equal(whole & lower, all_seen & lower)
    places = torch.arange(length)
    for row in range(4):
        assert torch.equal(mask.mask_mod(torch.tensor(row), None, places[:, None], places), seen[row, 0])


def _dense(counts, indices) -> Tensor:
    dense = torch.zeros(indices.shape, dtype=torch.bool)
    for b, _, q in itertools.product(*map(range, counts.shape)):
        dense[b, 0, q, indices[b, 0, q, : counts[b, 0, q]].long()] = True
    return dense


def test_positions_restart_and_tables_follow() -> None:
    cosine, sine = rotary_tables(positions_of(packed()).unsqueeze(1), 16, 500.0)
    assert cosine.shape == (2, 1, LENGTH, 8)
    plain, _ = rotary_tables(torch.arange(LENGTH), 16, 500.0)
    for row, place in parts():
        assert torch.equal(cosine[row, 0, place], plain[: place.stop - place.start])
    assert (sine[0, 0, [0, 5, 6, 17]] == 0).all()


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["varlen", "flex"])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_kernels_on_a_gpu_give_what_the_mask_gives(make_decoder, name, shape, compiled) -> None:
    length = 300
    decoder = make_decoder(**{**shape, "head_dim": 32}).cuda().train()
    tokens = torch.randint(97, (2, length), generator=torch.Generator().manual_seed(3)).cuda()
    upper = torch.randn(2, length, 48, generator=torch.Generator().manual_seed(4)).cuda()
    compilations = torch._dynamo.utils.counters["stats"]
    results = {}
    for kernel in ("sdpa", name):
        decoder.use_attention(kernel)
        if compiled and kernel == name:
            for block in decoder.layers:
                block.compile(dynamic=False)
        for borders in (([7, 150, 151], []), ([1, 2, 3, 280], [20]), ([], [])):
            with torch.autocast("cuda", dtype=torch.bfloat16):
                y = decoder(tokens, documents=packed(borders, length).to(torch.device("cuda")))
            gradients = torch.autograd.grad((y.float() * upper).sum(), decoder.parameters())
            results[kernel, str(borders)] = [y.detach(), *gradients]
            after_first = results.setdefault((kernel, "graphs"), compilations["unique_graphs"])
        assert compilations["unique_graphs"] == after_first, "other borders brought another compilation"
    for (kernel, borders), found in results.items():
        if kernel == name and borders != "graphs":
            for mine, theirs in zip(found, results["sdpa", borders], strict=True):
                assert (mine - theirs).norm() < 0.03 * theirs.norm() + 1e-3
