"""A model whose answers are written beforehand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from flyweight.corpus import TextTokenizer
from flyweight.corpus.reading.chat import CHATML
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.inference import ChatFormat, LanguageModel

TEXTS = ["Is it so? No: 1 + 1 = 2. Be brief, user and assistant, system. The cat sat on the mat."] * 9


class ScriptedModel(LanguageModel):
    """Says its scripts, one after another and then again, each ended as an answer is.

    `shown` are the prompts it was given. `before` is called before each token with the number of the token.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *scripts: str | list[int],
        chat: bool = True,
        max_length: int = 400,
        before: Callable[[int], None] = lambda step: None,
    ) -> None:
        super().__init__("scripted <b>model</b>", tokenizer, max_length, torch.device("cpu"))
        self._chat = ChatFormat(CHATML, tokenizer) if chat else None
        self.scripts = [tokenizer.encode(one) if isinstance(one, str) else one for one in scripts]
        self.shown: list[list[int]] = []
        self.before = before

    @property
    def chat(self) -> ChatFormat | None:
        return self._chat

    def logits_at(self, *arguments: Any) -> torch.Tensor:
        raise NotImplementedError

    def new_cache(self, batch_size: int, length: int) -> SimpleNamespace:
        return SimpleNamespace(step=0, script=[])

    def next_logits(self, tokens: torch.Tensor, cache: Any, valid: Any = None) -> torch.Tensor:
        if cache.step == 0:
            cache.script = self.scripts[len(self.shown) % len(self.scripts)]
            self.shown.append(tokens[0].tolist())
        self.before(cache.step)
        ends = self._chat.end_of_turn if self._chat else self.tokenizer.end_of_text
        token = cache.script[cache.step] if cache.step < len(cache.script) else ends
        cache.step += 1
        # The other tokens are not alike, so that their order is one; the wanted one has about a half.
        logits = torch.linspace(0, 3, self.tokenizer.vocab_size)[None].clone()
        logits[0, token] = 8.0
        return logits

    def joins(self, cache: Any) -> bool:
        return False  # every prompt is shown whole

    def prompts(self) -> list[str]:
        """What it was shown, as text."""
        return [self.tokenizer.decode(tokens) for tokens in self.shown]


def scripted_tokenizer() -> TextTokenizer:
    """A tiny one, with the tokens of ChatML, and one that looks like HTML."""
    return train_bpe(TEXTS, 290, "qwen2", "<|eot|>", ["<|im_start|>", "<|im_end|>", "<img src=x>"])
