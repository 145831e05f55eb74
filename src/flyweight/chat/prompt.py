"""What the model is shown: as much of a conversation, or of a text, as its context holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from flyweight.base import UserError
from flyweight.inference import ChatFormat, LanguageModel, Message, fit_prompt


@dataclass(frozen=True)
class Prompt:
    """Tokens to go on from."""

    tokens: list[int]
    new_tokens: int
    """At most so many can follow."""
    left_out: str = ""
    """What did not fit, in words; empty where everything did."""
    end_of_turn: int | None = None
    """Ends the answer, beside what ends every text."""
    continued: list[int] = field(default_factory=list)
    """The last token of a text that goes on right there; none where something new begins."""


def chat_prompt(
    chat: ChatFormat, messages: Sequence[Message], max_new_tokens: int, max_length: int
) -> Prompt:
    """A conversation, up to where the assistant begins.

    An answer gets `max_new_tokens`, but need not get more than half of the context. Where the conversation leaves
    less, its oldest turns go, whole ones (a user's message with what answers it); the system message and the last
    turn stay.

    Args:
        chat: how the model was taught conversations.
        messages: at most one system message, which is the first; the last is the user's.
        max_new_tokens: at most so many are wanted.
        max_length: tokens of the model's context.

    Raises:
        UserError: even the last turn alone leaves no room for an answer, or the template refuses the messages.
    """
    system = [message for message in messages if message["role"] == "system"]
    turns = _turns([message for message in messages if message["role"] != "system"])
    room = max(max_length - max_new_tokens, max_length // 2, 1)

    def tokens_without(gone: int) -> list[int]:
        return chat.tokens([*system, *(message for turn in turns[gone:] for message in turn)])

    # As few turns go as have to; halving, because every trial writes and encodes the whole conversation.
    gone = bisect_left(range(len(turns) - 1), True, key=lambda gone: len(tokens_without(gone)) <= room)
    tokens = tokens_without(gone)
    if len(tokens) >= max_length:
        what = "the message and the system message together take" if system else "the message takes"
        raise UserError(
            f"{what} {len(tokens):,} tokens; this model's context holds {max_length:,}, the answer included: "
            f"make it shorter."
        )
    return Prompt(
        tokens, min(max_new_tokens, max_length - len(tokens)), _turns_left_out(gone), chat.end_of_turn
    )


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = []
    for message in messages:
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _turns_left_out(gone: int) -> str:
    if not gone:
        return ""
    oldest = "oldest turn no longer fits" if gone == 1 else f"{gone} oldest turns no longer fit"
    return f"the {oldest} in the model's context: it does not see {'it' if gone == 1 else 'them'}"


def text_prompt(model: LanguageModel, text: str, max_new_tokens: int) -> Prompt:
    """A text to be continued, after the model's prefix token; where it is too long, its beginning goes."""
    tokens = [model.prefix_token, *model.tokenizer.encode(text)]
    kept = fit_prompt(tokens, max_new_tokens, model.max_length)
    gone = len(tokens) - len(kept)
    told = f"the first {gone:,} tokens of the text do not fit in the model's context" if gone else ""
    new_tokens = min(max_new_tokens, model.max_length - len(kept))
    return Prompt(kept, new_tokens, told, continued=tokens[1:][-1:])
