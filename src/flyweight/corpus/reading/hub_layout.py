"""Which files of a dataset repository are a subset and a split: its card, else the conventions of the hub.

Pure functions over a list of paths and the text of the card. The rules are those of the hub's
documentation ("Data files configuration" and "Structure your repository").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flyweight.base import UserError

FAMILIES = {
    "parquet": (".parquet",),
    "json": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst"),
    "text": (".txt", ".md"),
}
"""The kinds of files that are read, the most likely data first; one dataset is of one kind, and its
files of other kinds (a licence, a list of addresses) are none of its data."""

READABLE = tuple(ending for endings in FAMILIES.values() for ending in endings)

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The splits that names of files and folders tell, and the words for them."""

_SPLIT_OF_WORD = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_SHARDED = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*")
_MOST_LISTED = 12
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Subset:
    """A configuration of a dataset."""

    name: str
    splits: Mapping[str, tuple[str, ...]] | None
    """Patterns of each split's files; None where names tell the splits."""
    folder: str = ""
    """Where names tell the splits, the folder that they are looked for in; ends in `/` unless empty."""
    default: bool = False


def choose_files(
    paths: Sequence[str],
    card: str,
    dataset: str,
    subset: str | None,
    split: str,
    patterns: Sequence[str] = (),
) -> list[str]:
    """The data files of one subset and split, in natural order: `part-2` comes before `part-10`.

    Args:
        paths: all files of the repository, with `/`.
        card: the text of its README.md; may be empty.
        dataset: its id, for errors.
        subset: the configuration; None for the default one.
        split: the split, such as `train`.
        patterns: patterns of the files, instead of a subset and a split.

    Raises:
        UserError: no such subset, split or file; the sentence lists those that there are.
    """
    if patterns:
        return _named(paths, dataset, patterns)
    data = [path for path in paths if _may_be_data(path)]
    subsets = read_card(card, dataset)
    chosen = _choose_subset(subsets, data, dataset, subset)
    called = f"{dataset}, subset {chosen.name}" if chosen.name else dataset
    splits = _splits_of(chosen, data)
    wanted = split if split in splits else _SPLIT_OF_WORD.get(split, split)
    if wanted not in splits:
        there = f"it has {_listed(splits)}" if splits else f"none of its files are data: {_examples(paths)}"
        raise UserError(f"{called} has no split {split!r}; {there}.")
    found = _one_family([path for path in splits[wanted] if path.lower().endswith(READABLE)])
    if not found:
        raise UserError(
            f"{called}, split {split}, has no file of a kind that can be read ({_examples(splits[wanted])}); "
            f"supported are {', '.join(READABLE)}."
        )
    if (
        not subsets
        and f"{dataset.rpartition('/')[2]}.py" in paths
        and found[0].lower().endswith((".txt", ".md"))
    ):
        raise UserError(
            f"{dataset} is not a set of data files but a program that fetches them from elsewhere, which is "
            f"not run here; download the data as its card says, and name it with `kind: files` and `path`."
        )
    return sorted(found, key=natural_key)


def read_card(card: str, dataset: str) -> tuple[Subset, ...]:
    """The subsets that the YAML at the top of a dataset's card describes; none where it describes none.

    Raises:
        UserError: that YAML cannot be read.
    """
    block = _FRONT_MATTER.match(card.replace("\r\n", "\n").removeprefix("\ufeff"))
    if block is None:
        return ()
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    try:
        values = yaml.load(StringIO(block.group(1)))
        configurations = values.get("configs") or [] if isinstance(values, dict) else []
        return tuple(_subset(item) for item in configurations)
    except (YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
        first = str(error).strip().splitlines()[:1]
        raise UserError(
            f"{dataset}: the YAML at the top of its card cannot be read ({' '.join(first)}); name the files "
            f"with `files` instead of a subset."
        ) from None


def natural_key(path: str) -> tuple[Any, ...]:
    """A key that sorts numbers in names by their value; no two paths have the same one."""
    pieces = re.split(r"(\d+)", path)
    return (
        *((piece, int(number)) for piece, number in zip(pieces[::2], [*pieces[1::2], "0"], strict=True)),
        path,
    )


def matching(paths: Iterable[str], pattern: str) -> list[str]:
    """The paths that a pattern names: `*` stays within a folder, `**` crosses them, a folder is all in it."""
    pattern = pattern.removeprefix("./").lstrip("/")
    if "://" in pattern:
        return []
    rule = _compile_pattern(pattern)
    folder = pattern.rstrip("/") + "/"
    return [path for path in paths if rule.fullmatch(path) or path.startswith(folder)]


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    translated = ""
    for token in re.findall(r"\*\*/|\*+|\?|\[[^\]]+\]|.", pattern, re.DOTALL):
        if token == "**/":
            translated += "(?:.*/)?"
        elif token.startswith("*"):
            translated += ".*" if len(token) > 1 else "[^/]*"
        elif token == "?":
            translated += "[^/]"
        elif token.startswith("[") and len(token) > 1:
            inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            translated += f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
        else:
            translated += re.escape(token)
    try:
        return re.compile(translated, re.DOTALL)
    except re.error:  # such as [b-a]: then brackets are brackets
        return re.compile(re.escape(pattern))


def _subset(item: Any) -> Subset:
    name, folder = str(item.get("config_name", "default")), str(item.get("data_dir") or "").strip("/")
    folder = f"{folder}/" if folder else ""
    files = item.get("data_files")
    if not files:
        return Subset(name, None, folder, bool(item.get("default")))
    if isinstance(files, dict):
        files = [{"split": split, "path": paths} for split, paths in files.items()]
    splits: dict[str, tuple[str, ...]] = {}
    for entry in [files] if isinstance(files, str) else files:
        split = str(entry["split"]) if isinstance(entry, dict) else "train"
        paths = entry["path"] if isinstance(entry, dict) else entry
        paths = [paths] if isinstance(paths, str) else paths
        splits[split] = (*splits.get(split, ()), *(folder + str(path) for path in paths))
    return Subset(name, splits, "", bool(item.get("default")))


def _choose_subset(
    subsets: Sequence[Subset], data: Sequence[str], dataset: str, wanted: str | None
) -> Subset:
    by_name = {subset.name: subset for subset in subsets}
    if wanted is None:
        if not subsets:
            return Subset("", None)
        named = [subset for subset in subsets if subset.default] or [by_name.get("default")]
        chosen = named[0] or (subsets[0] if len(subsets) == 1 else None)
        if chosen is not None:
            return chosen
        raise UserError(
            f"{dataset} has several subsets, and none of them is its default; choose one with `subset`: "
            f"{_listed(by_name)}."
        )
    if wanted in by_name:
        return by_name[wanted]
    if wanted == "default" and not subsets:
        return Subset("", None)
    inside = [path.partition("/")[0] for path in data if "/" in path]
    for folder in (f"{wanted.strip('/')}/", f"data/{wanted.strip('/')}/"):
        if any(path.startswith(folder) for path in data):
            return Subset(wanted, None, folder)
    if not subsets and not inside:
        raise UserError(f"{dataset} has no subset {wanted!r}, nor any other: leave `subset` out.")
    raise UserError(
        f"{dataset} has no subset {wanted!r}; it has {_listed(by_name or dict.fromkeys(inside))}."
    )


def _splits_of(subset: Subset, data: Sequence[str]) -> dict[str, list[str]]:
    if subset.splits is not None:
        return {
            split: list(dict.fromkeys(path for pattern in patterns for path in matching(data, pattern)))
            for split, patterns in subset.splits.items()
        }
    inside = [path for path in data if path.startswith(subset.folder) and path.lower().endswith(READABLE)]
    names = {path: path[len(subset.folder) :] for path in inside}
    for split_of in (_sharded_split, _folder_split, _file_split):
        splits: dict[str, list[str]] = {}
        for path, name in names.items():
            split = split_of(name)
            if split:
                splits.setdefault(split, []).append(path)
        if splits:
            return splits
    return {"train": inside} if inside else {}


def _sharded_split(name: str) -> str | None:
    found = _SHARDED.fullmatch(name)
    return _SPLIT_OF_WORD.get(found.group(1), found.group(1)) if found else None


def _folder_split(name: str) -> str | None:
    folders = name.split("/")[:-1]
    return next((split for folder in reversed(folders) if (split := _word_split(folder))), None)


def _file_split(name: str) -> str | None:
    return _word_split(name.rpartition("/")[2])


def _word_split(name: str) -> str | None:
    words = re.split(r"[-._ 0-9]+", name)
    return next((_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD), None)


def _may_be_data(path: str) -> bool:
    """Hidden files and folders, and the card, are none of the data."""
    parts = path.split("/")
    return not any(part.startswith((".", "__")) for part in parts) and parts[-1].lower() != "readme.md"


def _one_family(paths: list[str]) -> list[str]:
    """Those of the kind that most are of."""
    families = {path: _family(path) for path in paths}
    counts = Counter(families.values())
    most = max(FAMILIES, key=lambda family: counts[family])  # of equal counts the first family
    return [path for path in paths if families[path] == most]


def _family(path: str) -> str:
    return next(family for family, endings in FAMILIES.items() if path.lower().endswith(endings))


def _named(paths: Sequence[str], dataset: str, patterns: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = matching(paths, pattern)
        if not matched:
            raise UserError(
                f"{dataset} has no file that matches {pattern!r} (`files`); it has {_examples(paths)}."
            )
        readable = [path for path in matched if path.lower().endswith(READABLE) and _may_be_data(path)]
        if not readable:
            raise UserError(
                f"{dataset}: no file that matches {pattern!r} (`files`) is of a kind that can be read "
                f"({_examples(matched)}); supported are {', '.join(READABLE)}."
            )
        found.update(dict.fromkeys(readable))
    return sorted(found, key=natural_key)


def _listed(names: Iterable[str]) -> str:
    names = sorted(names, key=natural_key)
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _examples(paths: Sequence[str]) -> str:
    if not paths:
        return "no files"
    first = sorted(paths, key=natural_key)[:4]
    return ", ".join(first) + (f" and {len(paths) - len(first):,} more" if len(paths) > len(first) else "")
