"""Conversations as text: a chat template, and where in the text it wrote special tokens.

A template is Jinja as in Hugging Face's tokenizers. What stands inside a message is text and never a
special token, though it may look like one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from flyweight.base import UserError

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""What `chatml` stands for, as the template of a tokenizer."""

Marks = tuple[tuple[int, int], ...]

_LOOKS_SPECIAL = r"<[|｜][^\s<>|｜]+[|｜]>"
"""What most models' special tokens look like; DeepSeek's have wide bars."""

_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}

_PRIVATE_USE = range(0xF0000, 0xFFFFE)
"""Code points that stand for nothing: Unicode's plane 15, private use."""


class BadConversation(ValueError):
    """A record's messages cannot be rendered; `reason` is one of a few, for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChatTemplate:
    """A compiled chat template.

    Args:
        template: `chatml`, or a Jinja template.
        special_tokens: what becomes special tokens where the template writes it, beside all that looks
            like `<|name|>`.
        bos_token: the template's variable of this name.
        eos_token: the template's variable of this name.

    Raises:
        UserError: not a template.
    """

    def __init__(
        self, template: str, special_tokens: Sequence[str] = (), bos_token: str = "", eos_token: str = ""
    ) -> None:
        self._variables = {"bos_token": bos_token, "eos_token": eos_token}
        tokens = {token for token in (*special_tokens, bos_token, eos_token) if token}
        longest_first = sorted(tokens, key=lambda token: (-len(token), token))
        self._special = re.compile("|".join((*map(re.escape, longest_first), _LOOKS_SPECIAL)))
        self._special_begins = re.compile(f"(?=(?:{self._special.pattern})).", re.DOTALL)
        self._template = None
        if template == "chatml":
            return  # written without Jinja, in less than half the time
        if "{" not in template:
            raise UserError(
                f"tokenizer.chat_template: {template!r} is neither `chatml` nor a Jinja template that writes the "
                f"`messages`."
            )
        # Imported here: most sources do without it.
        import jinja2

        try:
            self._template = _environment().from_string(template)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"tokenizer.chat_template: line {error.lineno} of the template is not sound Jinja ({error.message})."
            ) from None

    def render(self, messages: object, *, reply: bool = False) -> tuple[str, Marks]:
        """A conversation as text, and the special tokens in it as (start, end) in characters, rising.

        Args:
            messages: a list of {role, content}, or ShareGPT's {from, value} with human and gpt.
            reply: end with the beginning of the assistant's next message (`add_generation_prompt`).

        Raises:
            BadConversation: not such a list, or the template refuses it.
        """
        conversation = _checked(messages)
        guards = self._guards(conversation)
        text = self._render(conversation, reply)
        if not guards:
            return text, tuple(match.span() for match in self._special.finditer(text))
        # The first character of what looks special inside a message gives way to one that stands for it, so
        # that only the template's own are found. One character for one: places stay the same.
        guarded = self._render(_mapped(conversation, lambda string: self._guard(string, guards)), reply)
        back = {ord(guard): character for character, guard in guards.items()}
        if guarded.translate(back) != text:
            raise BadConversation("special tokens in a message change what the chat template writes")
        return text, tuple(match.span() for match in self._special.finditer(guarded))

    def _render(self, conversation: list[dict[str, Any]], reply: bool) -> str:
        if self._template is None:
            written = [
                f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in conversation
            ]
            return "".join([*written, "<|im_start|>assistant\n" if reply else ""])
        import jinja2

        try:
            return self._template.render(
                messages=conversation,
                tools=None,
                documents=None,
                add_generation_prompt=reply,
                **self._variables,
            )
        except jinja2.TemplateError:  # `raise_exception`, and what is undefined
            raise BadConversation("refused by the chat template") from None
        except Exception:  # whatever a template's own computation may raise
            raise BadConversation("does not fit the chat template") from None

    def _guards(self, conversation: list[dict[str, Any]]) -> dict[str, str]:
        """A private-use character that occurs nowhere for each character that begins a special string."""
        strings = _strings(conversation)
        if not self._special.search("\n".join(strings)):
            return {}
        begins = sorted({match[0] for string in strings for match in self._special_begins.finditer(string)})
        used = set().union(*strings)
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
        return dict(zip(begins, free, strict=False))

    def _guard(self, string: str, guards: Mapping[str, str]) -> str:
        return self._special_begins.sub(lambda match: guards[match[0]], string)


def _environment() -> ImmutableSandboxedEnvironment:
    """Hugging Face's, but for `strftime_now`: a corpus must not depend on the day when it is made."""
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` shows what the assistant writes; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012 (jinja's own form)

        def parse(self, parser: Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    # Only these: json's own `cls` and `default` take anything that can be called.
    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    return environment


def _checked(messages: object) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise BadConversation("conversation is not a list")
    conversation = [_message(message) for message in messages]
    if all(not message["content"] or message["content"].isspace() for message in conversation):
        raise BadConversation("empty conversation")
    return conversation


def _message(message: object) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadConversation("message is not a JSON object")
    if isinstance(message.get("role"), str):
        role, content = message["role"], message.get("content")
    elif isinstance(message.get("from"), str):
        role, content = _SHAREGPT_ROLES.get(message["from"], message["from"]), message.get("value")
    else:
        raise BadConversation("message without a role")
    if not isinstance(content, str):
        raise BadConversation("message without content")
    # Parquet gives every message all fields that any has; None is what this one lacks.
    others = {
        key: value for key, value in message.items() if value is not None and key not in ("from", "value")
    }
    return {**others, "role": role, "content": content}


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found: list[str] = []
    for part in inner:
        if isinstance(part, str):
            found.append(part)
        else:
            found += _strings(part)
    return found


def _mapped(value: Any, function: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(inner, function) for key, inner in value.items()}
    return [_mapped(inner, function) for inner in value] if isinstance(value, list) else value
