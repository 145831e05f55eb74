"""Records of a split as lm-eval's tasks use them: what it asks of a Hugging Face dataset, over plain lists.

An Arrow table costs a conversion for every record that is read and a pass over all of them for every `map`; lm-eval
reads records many times and maps again whenever it looks at a split. Here a record is an ordinary dictionary, and
what a function made of the records is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Record = dict[str, Any]


class Rows:
    """The records of a split."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)
        self._made: dict[str, Rows] = {}

    def __deepcopy__(self, _: dict[int, Any]) -> Rows:
        """Itself: lm-eval copies a task's configuration, and records in it are only read."""
        return self

    @property
    def features(self) -> Mapping[str, Any]:
        """The names of the fields, as keys."""
        return dict.fromkeys(self._records[0]) if self._records else {}

    @property
    def column_names(self) -> list[str]:
        """The names of the fields."""
        return list(self.features)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, key: int | str) -> Any:
        """A record by its number, or a column by its name."""
        if isinstance(key, str):
            return [record[key] for record in self._records]
        return self._records[key]

    def map(self, function: Callable[[Record], Record]) -> Rows:
        """Each record with what `function` makes of it put over its fields."""
        # By name: lm-eval's functions define the one that they map with anew at every call.
        name = f"map {function.__module__} {function.__qualname__}"
        if name not in self._made:
            self._made[name] = Rows({**record, **function(record)} for record in self._records)
        return self._made[name]

    def filter(self, function: Callable[[Record], bool]) -> Rows:
        """The records of which `function` is true."""
        return Rows(record for record in self._records if function(record))

    def select(self, indices: Sequence[int]) -> Rows:
        """The records with these numbers."""
        return Rows(self._records[index] for index in indices)
