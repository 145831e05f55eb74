"""From raw records to documents: filter, text field or conversation, TinyDSL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading.chat import BadConversation, ChatTemplate
from flyweight.corpus.reading.filters import MISSING, Filter, FilterMismatch, compile_filter, look_up


@dataclass(frozen=True)
class Conversion:
    """What a source does to its records; names are those of the recipe's settings."""

    name: str
    """The source's name, for errors."""
    text_field: str = "text"
    messages_field: str | None = None
    filter: str | None = None
    tinydsl: Literal["compact", "exact"] | None = None
    chat_template: str = "chatml"
    special_tokens: tuple[str, ...] = ()
    end_of_text: str = ""

    def check(self) -> None:
        """Look at the settings before anything is read.

        Raises:
            UserError: the filter or the chat template is malformed.
        """
        self._filter()
        if self.messages_field is not None:
            self._template()

    @property
    def columns(self) -> dict[str, str | None]:
        """The fields that are needed, with the setting that cannot do without them."""
        wanted = self._filter()
        names = dict.fromkeys(wanted.names if wanted else (), f"sources.{self.name}.filter")
        return {self.messages_field or self.text_field: None, **names}

    def documents(self, records: Iterable[tuple[Mapping[str, Any], str]], log: ReadLog) -> Iterator[Document]:
        """The documents of records; those that cannot become one are counted in `log`.

        Args:
            records: with their places.
            log: takes bad and filtered records, and what of the filter's names no record had.
        """
        wanted = self._filter()
        if wanted is not None:
            records = self._filtered(records, wanted, log)
        template = None if self.messages_field is None else self._template()
        field = self.messages_field or self.text_field
        for record, place in records:
            value = record.get(field, MISSING)
            if value is MISSING:
                value = look_up(record, field)
            if value is MISSING:
                log.fields_found = log.fields_found or tuple(record)
                log.skip("no messages field" if template else "no text field", place)
                continue
            if template is None:
                document = self.document(value, place, log)
            else:
                document = _conversation(value, template, place, log)
            if document is not None:
                yield document

    def document(self, text: object, place: str, log: ReadLog, key: str | None = None) -> Document | None:
        """The document of one text, or None, and counted, where it is not usable.

        Args:
            text: what the record holds.
            place: where it stands.
            log: takes it when it is bad.
            key: of the document, where it is not its text that decides on its side of the split.
        """
        if self.tinydsl is not None and isinstance(text, str):
            # Imported here: most sources do without it.
            from flyweight.corpus.tinydsl import NotNormalisable, normalize

            try:
                text = normalize(text, self.tinydsl)
            except NotNormalisable as error:
                log.skip(f"TinyDSL: {error.reason}", place)
                return None
        document = log.document(text, place)
        return document if document is None or key is None else replace(document, key=key)

    def _filter(self) -> Filter | None:
        if self.filter is None:
            return None
        try:
            return compile_filter(self.filter)
        except UserError as error:
            raise UserError(f"source {self.name!r} (sources.{self.name}.filter): {error}") from None

    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.chat_template, self.special_tokens, eos_token=self.end_of_text)

    def _filtered(
        self, records: Iterable[tuple[Mapping[str, Any], str]], wanted: Filter, log: ReadLog
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        never_seen, fields = set(wanted.names), ()
        for record, place in records:
            if never_seen:
                never_seen = {name for name in never_seen if look_up(record, name) is MISSING}
                fields = fields or tuple(record)
                log.fields_found = log.fields_found or fields
            try:
                passes = wanted(record)
            except FilterMismatch:
                log.skip("the filter does not fit", place)
                continue
            if passes:
                yield record, place
            else:
                log.filtered += 1
        if fields:
            log.note_never_seen(never_seen)

    def check_filter(self, log: ReadLog) -> None:
        """Judge by the log of all that was read whether the filter fits: one part alone may lack a field.

        Raises:
            UserError: the filter names a field that no record has.
        """
        if log.never_seen:
            raise UserError(
                f"source {self.name!r} (sources.{self.name}.filter): the filter names {log.never_seen[0]!r}, which "
                f"no record has; they have the fields {', '.join(map(str, log.fields_found))}."
            )


def _conversation(messages: object, template: ChatTemplate, place: str, log: ReadLog) -> Document | None:
    try:
        text, marks = template.render(messages)
    except BadConversation as error:
        log.skip(error.reason, place)
        return None
    document = log.document(text, place)
    return None if document is None else replace(document, marks=marks)
