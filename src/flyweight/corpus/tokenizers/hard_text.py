"""Text on which tokenizers differ."""

from __future__ import annotations

import random

_PARTS = (
    *" \n\t\r'\"<>{}()[]|\\/@#$%^&*_+-=.,;:!?~`",
    *(
        "  ",
        "    ",
        "\n\n",
        "\r\n",
        " \n",
        "\u00a0",
        "\u2003",
        "\u3000",
        "\u200b",
        "\u2028",
        "\x0b",
        "\x85",
        "\x1c",
    ),
    *("'s", "'T", "'ll", "don't", "L'été", "I'M", "’s"),
    *("0", "7", "12", "345", "6789", "1234567", "3.14", "１２", "٣٤", "½", "Ⅷ", "²"),
    *("the", "The", "THE", "word", "camelCase", "snake_case", "été", "e\u0301", "naïve", "ﬁ", "ß", "İ", "ǅ"),
    *(
        "漢字",
        "学习机器",
        "、",
        "。",
        "「」",
        "ひらがな",
        "カタカナ",
        "한국어",
        "हिन्दी",
        "ไทย",
        "עברית",
        "العربية",
        "Ελλάδα",
    ),
    *(
        "🙂",
        "👩\u200d💻",
        "🇫🇷",
        "👍🏽",
        "❤️",
        "\ufe0f",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\u2581",
        "Ġ",
        "Ċ",
        "\x00",
        "\x7f",
    ),
    *(
        "<s>",
        "</s>",
        "<0x0A>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "\ue000",
        "\U0010ffff",
        "𝔘𝔫𝔦",
        "𐐀",
    ),
)

_CODE = '''\
def überprüfe(größe: int, *, π=3.14159) -> "Ergebnis":
\t"""Doc: naïve café — “quotes” … 你好，世界 🙂"""
        if größe<=0x1F  and  not  π!=1e-9:   # комментарий
                return {'ключ': [1,2,  3], "值": f"{größe!r:>10}\\n\\t\\u00e9"}   \n\n\n
\t\t    raise ValueError(r"\\d+\\s*(?P<name>[^\\]]+)") ;;\r\n
'''

_PROSE = (
    "“Well,” she said—and it wasn’t the first time—“that's 1,234,567.89 € (≈ $1.3M), isn't it?”\n\n\n"
    "     Indented.\t\tTabbed.  Two spaces.   Three.    Four.     \n \n  \n"
    "机器学习（Machine Learning）是人工智能的一个分支，2024年发表了12,345篇论文。它们的平均长度为８页！"
    "https://example.org/a_b-c?d=e&f=%20#g  user@example.org  C:\\Program Files\\x  ++i;  a->b  x²+y²=z²\n"
)


def _mixtures(count: int) -> list[str]:
    """Random strings of the parts, the same every time."""
    draw = random.Random(count)
    return ["".join(draw.choices(_PARTS, k=draw.randint(1, 20))) for _ in range(count)]


HARD_TEXT: tuple[str, ...] = (
    "",
    _CODE,
    _PROSE,
    _CODE * 20 + _PROSE * 20,
    *_PARTS,
    *(" " * size + "x" for size in (1, 2, 3, 7, 31, 100, 1000)),
    *(" " * size for size in (2, 5, 300)),
    "\n" * 50 + "\t" * 50 + "\n \n" * 20,
    "a" * 3000,
    "!?" * 500,
    "汉" * 1000,
    "🙂" * 300,
    "1" * 500,
    *_mixtures(800),
)
"""Code with odd Unicode, Chinese, emoji, digits, long runs of white space, text like special tokens."""
