from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.reading.chat import CHATML, BadConversation, ChatTemplate

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Héllo?\n"},
    {"role": "assistant", "content": "Hi  "},
]
CHATML_TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHéllo?\n<|im_end|>\n"
    "<|im_start|>assistant\nHi  <|im_end|>\n"
)
ZEPHYR = (
    "{% for message in messages %}\n"
    "{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
PHI = (
    "{{ bos_token }}{% for message in messages %}"
    "{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
)
STRICT = (
    "{%- for message in messages -%}\n"
    "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n"
    "        {{ raise_exception('Roles must alternate') }}\n"
    "    {%- endif -%}\n"
    "    {%- if message['role'] == 'assistant' -%}\n"
    "        {% generation %}{{ message['content'] | trim }}{% endgeneration %}[END]\n"
    "    {%- else -%}\n"
    "        [INST] {{ message['content'] | tojson }} [/INST]\n"
    "    {%- endif -%}\n"
    "    {%- if loop.index > 9 %}{% break %}{% endif -%}\n"
    "{%- endfor -%}"
)


def marked(text: str, marks: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[start:end] for start, end in marks]


def test_chatml_is_written_with_its_special_tokens_marked() -> None:
    text, marks = ChatTemplate("chatml").render(CONVERSATION)
    assert text == CHATML_TEXT
    assert marked(text, marks) == ["<|im_start|>", "<|im_end|>"] * 3
    assert list(marks) == sorted(marks)


def test_the_sharegpt_form_is_the_same_conversation() -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    form = [{"from": names[message["role"]], "value": message["content"]} for message in CONVERSATION]
    assert ChatTemplate("chatml").render(form) == ChatTemplate("chatml").render(CONVERSATION)


@pytest.mark.parametrize("template", [CHATML, ZEPHYR, PHI, STRICT], ids=["chatml", "zephyr", "phi", "strict"])
def test_text_is_that_of_transformers(template: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    peer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), eos_token="</s>", bos_token="<s>"
    )
    peer.chat_template = template
    name = "chatml" if template == CHATML else template
    ours = [ChatTemplate(text, bos_token="<s>", eos_token="</s>") for text in dict.fromkeys((name, template))]
    conversations = [
        CONVERSATION[1:],
        [{"role": "user", "content": "<|end|> & 'é' \"<b>\" 中 {{ x }} {% y %}"}],
    ]
    for conversation in conversations:
        expected = peer.apply_chat_template(conversation, tokenize=False)
        assert [chat.render(conversation)[0] for chat in ours] == [expected] * len(ours)


def test_tokens_that_a_template_puts_together_or_that_are_given_are_marked() -> None:
    text, marks = ChatTemplate(PHI, bos_token="<s>").render(CONVERSATION)
    assert marked(text, marks) == [
        "<s>",
        *(f"<|{m['role']}|>" if i == 0 else "<|end|>" for m in CONVERSATION for i in (0, 1)),
    ]
    text, marks = ChatTemplate(STRICT, ["[INST]", "[/INST]"]).render(CONVERSATION[1:])
    assert marked(text, marks) == ["[INST]", "[/INST]"]
    wide = "{% for m in messages %}{{ '<｜User｜>' + m.content }}{% endfor %}"
    assert ChatTemplate(wide).render(CONVERSATION[1:2])[1] == ((0, 8),)


FRAGMENTS = st.lists(
    st.sampled_from(
        ["<|im_start|>", "<|im_end|>", "<|im_", "start|>", "<|", "|>", "<", "a", " ", "\n", "é", "aba", "ab", "X",
         "\U000f0000", "\U000f0001", "<|endoftext|>", "<｜User｜>"]
    ), max_size=8,
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(
    contents=st.lists(FRAGMENTS, min_size=1, max_size=4),
    tokens=st.sampled_from([[], ["aba", "X"], ["ab", "aba"]]),
)
def test_what_stands_in_a_message_is_never_marked(contents: list[str], tokens: list[str]) -> None:
    messages = [{"role": "user", "content": "start"}, *({"role": "Y", "content": text} for text in contents)]
    text, marks = ChatTemplate("chatml", tokens).render(messages)
    assert ChatTemplate(CHATML, tokens).render(messages) == (text, marks)
    assert text == "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    expected, place = [], 0
    for message in messages:
        expected.append((place, place + len("<|im_start|>")))
        place += len(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n")
        expected.append((place - len("<|im_end|>\n"), place - 1))
    assert list(marks) == expected


def test_a_template_that_looks_for_special_tokens_in_messages_is_not_misled() -> None:
    cleaning = "{% for m in messages %}{{ '<|user|>' + m.content.split('<|think|>')[-1] }}{% endfor %}"
    template = ChatTemplate(cleaning)
    assert template.render([{"role": "user", "content": "plain"}]) == ("<|user|>plain", ((0, 8),))
    with pytest.raises(BadConversation, match="special tokens in a message"):
        template.render([{"role": "user", "content": "a<|think|>b"}])


def test_fields_that_are_none_are_absent_and_others_reach_the_template() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m.content }}{{ m.name }}{{ 'tools' if 'tools' in m }}{% endfor %}"
    )
    messages = [{"role": "user", "content": "hello ", "name": "Ann", "tools": None}]
    assert template.render(messages)[0] == "hello Ann"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "conversation is not a list"),
        ("hello", "conversation is not a list"),
        ([], "empty conversation"),
        ([{"role": "user", "content": " \n"}, {"role": "assistant", "content": ""}], "empty conversation"),
        (["hello"], "message is not a JSON object"),
        ([{"content": "hello"}], "message without a role"),
        ([{"role": 1, "content": "hello"}], "message without a role"),
        ([{"role": "user"}], "message without content"),
        ([{"role": "user", "content": None}], "message without content"),
        ([{"role": "user", "content": ["a"]}], "message without content"),
        ([{"from": "human", "content": "hello"}], "message without content"),
        ([{"role": "assistant", "content": "hello"}], "refused by the chat template"),
    ],
)
def test_bad_conversations_have_a_reason(messages: Any, reason: str) -> None:
    with pytest.raises(BadConversation) as error:
        ChatTemplate(STRICT).render(messages)
    assert error.value.reason == reason


@pytest.mark.parametrize("template", ["{{ messages[0].content + 1 }}", "{{ 1 // 0 }}{{ messages }}"])
def test_a_template_that_fails_on_a_conversation_is_a_reason_too(template: str) -> None:
    with pytest.raises(BadConversation, match="does not fit the chat template"):
        ChatTemplate(template).render(CONVERSATION)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("llama3", "'llama3' is neither `chatml` nor a Jinja template"),
        ("{% for m in messages %}\n{{ m.content }", r"line 2 of the template is not sound Jinja"),
        ("{% for m in messages %}{{ m.content }}", "line 1 of the template is not sound Jinja"),
    ],
)
def test_a_malformed_template_is_an_error_that_says_where(template: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.chat_template: .*{re.escape(message)}"):
        ChatTemplate(template)


def test_a_template_cannot_reach_beyond_its_variables() -> None:
    for attack in ("{{ messages.__class__.__mro__ }}", "{{ messages.append(1) }}"):
        with pytest.raises(BadConversation):
            ChatTemplate(attack).render(CONVERSATION)
