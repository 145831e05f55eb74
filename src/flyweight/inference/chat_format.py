"""How a model was taught conversations, and how one becomes the tokens that it expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.corpus.reading.chat import CHATML, BadConversation, ChatTemplate
from flyweight.corpus.tokenizers.encoding import Encoder
from flyweight.recipe import Recipe

Message = Mapping[str, str]
"""`role` (system, user, assistant) and `content`."""

_EXAMPLE = ({"role": "user", "content": "A question."}, {"role": "assistant", "content": "An answer."})


class ChatFormat:
    """A chat template with the tokenizer that goes with it.

    Tokens are made as those of the training data are: what the template writes of special tokens becomes them,
    what stands in a message never does, whatever it looks like.
    """

    def __init__(self, template: str, tokenizer: TextTokenizer, bos_token: str = "") -> None:
        """Compile `template`, Jinja as in Hugging Face's tokenizers.

        Raises:
            UserError: not sound Jinja.
        """
        self.template = template
        self._template = ChatTemplate(
            template, tokenizer.special_tokens, bos_token, eos_token=tokenizer.end_of_text_text
        )
        self._tokenizer = tokenizer
        self._encoder = Encoder(tokenizer, "tokenizers")
        self.end_of_turn = self._find_end_of_turn()
        """The token that ends the assistant's message; None where the template writes none."""

    def text(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """The conversation as the template writes it; with `reply`, up to where the assistant begins.

        Raises:
            UserError: the template refuses it.
        """
        return self._render(messages, reply)[0]

    def tokens(self, messages: Sequence[Message], *, reply: bool = True) -> list[int]:
        """The same as token ids, without a BOS or end_of_text that the template does not write.

        Raises:
            UserError: the template refuses it, or writes a special token that the tokenizer does not have.
        """
        text, marks = self._render(messages, reply)
        ids, _ = self._encoder.encode([text.encode("utf-8")], [marks])
        return ids[:-1].tolist()  # the last one is end_of_text, which ends every document

    def _render(self, messages: Sequence[Message], reply: bool) -> tuple[str, tuple[tuple[int, int], ...]]:
        try:
            return self._template.render([dict(message) for message in messages], reply=reply)
        except BadConversation as error:
            raise UserError(f"this conversation cannot be put to the model: {error.reason}.") from None

    def _find_end_of_turn(self) -> int | None:
        try:
            text, marks = self._render(_EXAMPLE, reply=False)
        except UserError:
            return None
        answer = text.rfind(_EXAMPLE[-1]["content"])
        after = [text[start:end] for start, end in marks if start > answer >= 0]
        return self._tokenizer.backend.token_to_id(after[0]) if after else None


def chat_format(recipe: Recipe, tokenizer: TextTokenizer) -> ChatFormat | None:
    """What a recipe's models were taught; None where no source is read as conversations."""
    if not any(source.messages_field for source in recipe.sources.values()):
        return None
    named = recipe.tokenizer.chat_template
    return ChatFormat(CHATML if named == "chatml" else named, tokenizer)
