"""Benchmarks from files on this machine, without any network.

`DIR/NAME/SPLIT.jsonl`, or .json (a list, or an object with `examples`), .parquet, .csv; a benchmark of subsets has
one file with a field that tells them apart, or a file for each: `DIR/NAME/SUBSET.jsonl`, `DIR/NAME/SPLIT/SUBSET.csv`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.harness.catalogue import Benchmark
from flyweight.evaluation.harness.rows import Record, Rows
from flyweight.evaluation.items import read_json_lines

_ENDINGS = (".jsonl", ".json", ".parquet", ".csv")
_HOLD_SEVERAL = frozenset({"choices", "endings", "test_list"})
"""Fields of several texts."""


class LocalData:
    """The files of one benchmark in a folder of benchmarks."""

    def __init__(self, name: str, benchmark: Benchmark, folder: Path) -> None:
        self.name, self.benchmark = name, benchmark
        names = (name, benchmark.task, *benchmark.folders)
        found = [folder / candidate for candidate in names if (folder / candidate).is_dir()]
        self.places = found
        self.folder = folder
        # Kept here and not by a cache of the class, which would hold every benchmark's records to the process's end.
        self._records_of: dict[Path, list[Record]] = {}
        self._subsets_of: dict[Path, dict[str, list[Record]]] = {}

    def missing(self, shots: int | None) -> str | None:
        """Why the benchmark cannot be run with these files and this many examples (None: its own number); None if
        it can."""
        benchmark = self.benchmark
        shots = benchmark.shots if shots is None else shots
        if not self.places:
            others = f" (or {', '.join(benchmark.folders)})" if benchmark.folders else ""
            return f"{self.name}: there is no folder {self.folder / self.name}{others} with its files."
        needed = [benchmark.scored_split]
        if shots and benchmark.shots_split is not None:
            needed.append(benchmark.shots_split)
        for split in needed:
            if not self._files(split):
                what = "items" if split == benchmark.scored_split else f"the {shots} examples of its prompts"
                return (
                    f"{self.name}: {what} need {self.places[0] / benchmark.splits[split][0]}"
                    f"{_ENDINGS[0]} (or {', '.join(_ENDINGS[1:])}), which is not there."
                )
        return None

    def splits(self, subset: str | None = None) -> dict[str, Rows]:
        """The splits that are there, of the benchmark or of one of its subsets.

        Raises:
            UserError: no items of this subset, a file that is broken, or a record without one of the fields.
        """
        found = {}
        for split in self.benchmark.splits:
            records = self._records(split, subset)
            if records:
                found[split] = Rows(records)
        if self.benchmark.scored_split not in found:
            of_subset = f" of the subset {subset!r}" if subset else ""
            raise UserError(
                f"{self.places[0]}: there are no items{of_subset} here; see the docs for the names."
            )
        return found

    def _records(self, split: str, subset: str | None) -> list[Record]:
        files = self._files(split)
        if subset is None:
            return [record for file in files for record in self._read(file)]
        own = [file for file in files if _key(file.stem) == _key(subset)]
        if own:
            return [record for file in own for record in self._read(file)]
        return [
            record
            for file in files
            if file.stem in self.benchmark.splits[split]
            for record in self._by_subset(file).get(_key(subset), [])
        ]

    def _by_subset(self, file: Path) -> dict[str, list[Record]]:
        if file not in self._subsets_of:
            found = self._subsets_of[file] = {}
            if self.benchmark.subset_field is not None:
                for record in self._read(file):
                    found.setdefault(_key(str(record.get(self.benchmark.subset_field))), []).append(record)
        return self._subsets_of[file]

    def _files(self, split: str) -> list[Path]:
        """The files that may hold records of a split: those named after it; else those of its subsets."""
        for place in self.places:
            for name in self.benchmark.splits[split]:
                named = [
                    place / f"{name}{ending}" for ending in _ENDINGS if (place / f"{name}{ending}").is_file()
                ]
                if named:
                    return named[:1]
                if (place / name).is_dir():
                    return _data_files(place / name)
            splits = {name for names in self.benchmark.splits.values() for name in names}
            rest = [file for file in _data_files(place) if file.stem not in splits]
            if rest and split == self.benchmark.scored_split:
                return rest
        return []

    def _read(self, file: Path) -> list[Record]:
        if file not in self._records_of:
            self._records_of[file] = self._checked(file)
        return self._records_of[file]

    def _checked(self, file: Path) -> list[Record]:
        benchmark, records = self.benchmark, []
        for number, record in enumerate(_read_file(file), 1):
            try:
                adapted = benchmark.adapt(record) if benchmark.adapt else record
            except (KeyError, TypeError, ValueError):
                adapted = record  # what is missing is said below
            if adapted is None:
                continue
            lacking = [field for field in benchmark.fields if field not in adapted]
            if lacking:
                raise UserError(
                    f"{file}, record {number}: {self.name} needs the field{'s' if len(lacking) > 1 else ''} "
                    f"{', '.join(lacking)}; found {', '.join(map(str, record)) or 'none'}."
                )
            for field in _HOLD_SEVERAL.intersection(benchmark.fields):
                # Its letters would be taken for the choices.
                if isinstance(adapted[field], str):
                    raise UserError(
                        f"{file}, record {number}: {field} is one text, {adapted[field][:40]!r}; expected a list of "
                        f"them, which a .csv file cannot hold: use .jsonl or .parquet."
                    )
            records.append(adapted)
        return records


def _data_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _ENDINGS and file.is_file())


def _key(name: str) -> str:
    """Names of subsets as they are compared: `Counting & Probability` is `counting_and_probability`."""
    return name.lower().replace("&", "and").replace(" ", "_").replace("-", "_")


def _read_file(file: Path) -> Iterable[Record]:
    if file.suffix == ".jsonl":
        return read_json_lines(file)
    if file.suffix == ".json":
        return _read_json(file)
    if file.suffix == ".csv":
        try:
            with file.open(encoding="utf-8-sig", newline="") as text:
                return list(csv.DictReader(text))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{file}: not a table in UTF-8 ({error}).") from None
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file}: this parquet file cannot be read ({error}).") from None


def _read_json(file: Path) -> list[Record]:
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: not valid JSON ({error}).") from None
    records = data.get("examples") if isinstance(data, dict) else data
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(
            f"{file}: expected a list of objects, or an object with such a list under `examples`."
        )
    return records
