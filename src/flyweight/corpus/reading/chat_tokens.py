"""What a recipe's chat template needs of the tokenizer, told before anything is read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flyweight.base import UserError
from flyweight.corpus.reading.chat import BadConversation, ChatTemplate
from flyweight.recipe import Recipe

_PLAIN = ("user", "assistant")
_ROLES = (_PLAIN, ("user", "assistant", "user", "assistant"), ("system", "user", "assistant"))
"""Roles of the conversations that a template is tried with. It may refuse any of them."""


def check_chat_tokens(recipe: Recipe) -> None:
    """Whether the tokenizer that a recipe trains will have the special tokens that its chat template writes.

    Raises:
        UserError: it will not; the sentence names all that are missing, and the line for the recipe.
    """
    settings = recipe.tokenizer
    if settings.kind == "existing" or not any(source.messages_field for source in recipe.sources.values()):
        return
    template = ChatTemplate(settings.chat_template, settings.special_tokens, eos_token=settings.end_of_text)
    known = {settings.end_of_text, *settings.special_tokens, *settings.symbols}
    # Roles that no record has write nothing: only what plain conversations lack is refused, but all is named.
    if set(_written(template, _PLAIN)) <= known:
        return
    written = dict.fromkeys(token for roles in _ROLES for token in _written(template, roles))
    missing = [token for token in written if token not in known]
    wanted = json.dumps([*settings.special_tokens, *missing], ensure_ascii=False)
    raise UserError(
        f"tokenizer.special_tokens: the chat template writes {', '.join(missing)}, which the new tokenizer would not "
        f"have; put `special_tokens: {wanted}` under `tokenizer` in the recipe."
    )


def _written(template: ChatTemplate, roles: Sequence[str]) -> list[str]:
    """The special tokens of a conversation between these roles."""
    try:
        text, marks = template.render([{"role": role, "content": "text"} for role in roles])
    except BadConversation:
        return []
    return [text[begin:end] for begin, end in marks]
