from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.recipe import format_bytes, format_tokens, parse_bytes, parse_tokens
from flyweight.recipe.units import parse_percent

whole = st.integers(min_value=0, max_value=10**15)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("75B", 75_000_000_000),
        ("1.4T", 1_400_000_000_000),
        ("2.5k", 2_500),
        ("1.5e9", 1_500_000_000),
        ("1e-3M", 1_000),
        ("262,144", 262_144),
        ("262_144", 262_144),
        ("143051 x 512 x 1024", 74_999_922_688),
        ("2 × 3 * 4", 24),
        ("3 x 1K + 500", 3_500),
        ("2000x512x1024", 1_048_576_000),
        (1.5e9, 1_500_000_000),
        (7, 7),
    ],
)
def test_tokens_read_as_people_write_them(text, tokens):
    assert parse_tokens(text) == tokens


@given(st.integers(0, 10**9), st.integers(0, 10**9), whole)
def test_products_and_sums_are_exact(a, b, c):
    assert parse_tokens(f"{a} x {b} + {c}") == a * b + c


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from([("K", 3), ("M", 6), ("B", 9), ("T", 12)]))
def test_decimal_fractions_of_a_suffix_are_exact(thousandths, suffix):
    letter, power = suffix
    assert parse_tokens(f"{thousandths // 1000}.{thousandths % 1000:03d}{letter}") == thousandths * 10 ** (
        power - 3
    )


@pytest.mark.parametrize(
    "wrong", ["", "many", "-5", "75X", "5 5", "1.5", "0.1K x 0.001", True, None, [1], 2.5, "x 5", "5 +"]
)
def test_what_is_not_a_number_of_tokens_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not a (number|whole number)"):
        parse_tokens(wrong)


@pytest.mark.parametrize(
    ("text", "size"),
    [("50GB", 50 * 10**9), ("2GiB", 2**31), ("1.5 KB", 1500), ("12", 12), ("7B", 7), (1e6, 10**6)],
)
def test_bytes_read_as_people_write_them(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("wrong", ["50G", "1.5B", "big", False, None, 0.5])
def test_what_is_not_a_number_of_bytes_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not a (number|whole number)"):
        parse_bytes(wrong)


@pytest.mark.parametrize(
    ("value", "text"), [("80%", "0.8"), (" 2.5% ", "0.025"), ("80", None), (80, None), (0.8, None)]
)
def test_percentages_are_told_from_numbers(value, text):
    percent = parse_percent(value)
    assert (percent is None) == (text is None)
    assert percent is None or str(percent.normalize()) == text


@given(whole)
def test_formatted_tokens_read_back_within_their_four_digits(tokens):
    assert abs(float(parse_tokens_loosely(format_tokens(tokens))) - tokens) <= tokens * 5e-4


def parse_tokens_loosely(text: str) -> float:
    factor = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1.0)
    return float(text.rstrip("KMBT")) * factor


def test_formatted_sizes():
    assert [format_tokens(n) for n in (0, 512, 5_158_464, 75 * 10**9)] == ["0", "512", "5.158M", "75B"]
    assert [format_bytes(n) for n in (0, 999, 1_500_000, 50 * 10**9)] == ["0B", "999B", "1.5MB", "50GB"]
