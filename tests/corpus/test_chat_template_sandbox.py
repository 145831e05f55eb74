"""A chat template of somebody else is Jinja in a sandbox: it writes text and reaches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.corpus.reading.chat import BadConversation, ChatTemplate

MESSAGES = [{"role": "user", "content": "{{ 7 * 7 }} hello"}]
REACHING = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__base__ }}",
    "{{ (1).__class__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('MARK', 'w') }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ lipsum.__globals__['os'].system('touch MARK') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ ('{0.__class__}'|attr('format'))(messages) }}",
    "{{ ''|attr('__class__') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages|map('attr', '__class__')|list }}",
    "{{ ['{0.__class__}']|map('format', messages)|list }}",
    "{{ messages|tojson(cls=raise_exception) }}",
    "{{ range(3)|tojson(default='{0.__class__}'.format) }}",
    "{{ messages.append(1) }}",
    "{% set messages.x = 1 %}",
    "{% import 'os' as os %}{{ os }}",
    "{% include '/etc/passwd' %}",
    "{{ range(999999999)|list }}",
)


@pytest.mark.parametrize("template", REACHING)
def test_a_template_that_reaches_out_writes_nothing(tmp_path: Path, template: str) -> None:
    mark = tmp_path / "mark"
    try:
        text, _ = ChatTemplate(template.replace("MARK", str(mark))).render(MESSAGES)
    except (BadConversation, UserError):
        text = ""
    assert not mark.exists()
    # Where the sandbox answers with nothing instead of refusing, nothing of Python is in the text.
    for word in ("class", "<built-in", "function", "module", "root:"):
        assert word not in text


def test_what_a_message_says_is_never_a_template() -> None:
    text, _ = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}").render(MESSAGES)
    assert text == "{{ 7 * 7 }} hello"
    text, _ = ChatTemplate("chatml").render(MESSAGES)
    assert "{{ 7 * 7 }} hello" in text
