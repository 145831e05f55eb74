from __future__ import annotations

import lzma
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import zstandard

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.evaluation import bits_per_byte, compressor_bits_per_byte, held_out_text
from flyweight.inference import DecoderModel, LanguageModel

TEXTS = ["The cat sat on the mat.", "Ünïcode ☃", "b", "A longer document, over more than one window. " * 3]
HeldOutOf = Callable[[list[str]], Any]


def by_hand(model: DecoderModel, texts: list[str]) -> float:
    """Nats, one window after another and one token after another."""
    end = model.tokenizer.end_of_text
    stream = [end]
    for text in texts:
        stream += [*model.tokenizer.encode(text), end]
    nats = 0.0
    for start in range(0, len(stream) - 1, model.max_length):
        window = stream[start : start + model.max_length + 1]
        with torch.no_grad():
            logits = model.decoder.logits(model.decoder(torch.tensor([window[:-1]])))[0].double()
        for place, target in enumerate(window[1:]):
            if target != end:
                nats -= float(logits[place].log_softmax(-1)[target])
    return nats


def test_equals_the_sum_by_hand(model: DecoderModel, held_out_of: HeldOutOf):
    got = bits_per_byte(model, held_out_of(TEXTS))
    size = sum(len(text.encode()) for text in TEXTS)
    assert got.nats == pytest.approx(by_hand(model, TEXTS), abs=1e-3)
    assert (got.bytes, got.tokens) == (size, size)  # this tokenizer has a token a byte
    assert got.bits_per_byte == pytest.approx(got.nats / math.log(2) / size)
    assert got.loss == pytest.approx(got.nats / got.tokens)


def test_the_batch_of_windows_changes_nothing(model: DecoderModel, held_out_of: HeldOutOf):
    split = held_out_of(TEXTS)
    one = bits_per_byte(model, split, batch_tokens=1)
    for batch_tokens in (50, 10_000):
        other = bits_per_byte(model, split, batch_tokens=batch_tokens)
        assert other.nats == pytest.approx(one.nats, abs=1e-3)
        assert other[2:] == one[2:]


def test_a_stream_of_whole_windows(model: DecoderModel, held_out_of: HeldOutOf):
    texts = ["x" * (model.max_length - 1), "y" * (2 * model.max_length - 1)]
    assert bits_per_byte(model, held_out_of(texts)).nats == pytest.approx(by_hand(model, texts), abs=1e-3)


def test_a_uniform_model_pays_log2_v_a_token(uniform: LanguageModel, held_out_of: HeldOutOf):
    got = bits_per_byte(uniform, held_out_of(TEXTS))
    assert got.bits_per_byte == pytest.approx(math.log2(260) * got.tokens / got.bytes)


def test_a_limit_takes_whole_documents(uniform: LanguageModel, held_out_of: HeldOutOf):
    split = held_out_of(TEXTS)
    first, second = (len(text.encode()) for text in TEXTS[:2])
    assert bits_per_byte(uniform, split, max_tokens=first + 1).tokens == first
    assert bits_per_byte(uniform, split, max_tokens=first + second + 1).tokens == first
    assert bits_per_byte(uniform, split, max_tokens=first + second + 2).tokens == first + second
    assert bits_per_byte(uniform, split, max_tokens=1).tokens == first  # at least one document
    assert bits_per_byte(uniform, split, max_tokens=10**9) == bits_per_byte(uniform, split)


def test_no_text_is_a_user_error(uniform: LanguageModel, held_out_of: HeldOutOf):
    for texts in ([], ["", ""]):
        with pytest.raises(UserError, match="no text"):
            bits_per_byte(uniform, held_out_of(texts))


def test_held_out_text_comes_back(held_out_of: HeldOutOf, tokenizer: TextTokenizer):
    assert held_out_text(held_out_of(TEXTS), tokenizer) == TEXTS
    assert held_out_text(held_out_of(TEXTS), tokenizer, max_tokens=24) == TEXTS[:1]


def test_compressors_on_known_text():
    text = "".join(f"line {n} says {n * n}\n" for n in range(500))
    got = compressor_bits_per_byte([text[:4000], text[4000:]])
    assert got["lzma"] == 8 * len(lzma.compress(text.encode(), preset=9)) / len(text)
    assert got["zstd-19"] == 8 * len(zstandard.compress(text.encode(), 19)) / len(text)
    assert got["zstd-19"] < compressor_bits_per_byte([text[:300]])["zstd-19"]  # it learns as it goes


def test_random_bytes_do_not_compress():
    noise = "".join(random.Random(1).choices([chr(n) for n in range(128)], k=20_000))
    assert all(6.9 < bits < 8.2 for bits in compressor_bits_per_byte([noise]).values())


def test_nothing_to_compress_is_a_user_error():
    with pytest.raises(UserError, match="no text"):
        compressor_bits_per_byte([""])
