"""Which weights are averaged together. A rule maps the place of a weight in its parameter to the number of a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from analyzer.errors import GroupError, SelectionError
from analyzer.query.kinds import KINDS, WHOLE
from analyzer.store.names import titles_of as titles_of
from analyzer.store.schema import Parameter

Array = np.ndarray[Any, np.dtype[Any]]
Region = tuple[tuple[int, int], ...]
Globs = str | Sequence[str] | None
By = str | Mapping[str, Globs]


@dataclass(frozen=True)
class Rule:
    """How the weights of one parameter fall into groups.

    Attributes
    ----------
    base
        Number of the first group.
    split
        "whole": one group; "axis": one group for each `divisor` places along `axis`; "element": one for each weight.
    period
        Places after which the groups along the axis begin anew; 0 if they do not.
    """

    base: int
    split: Literal["whole", "axis", "element"] = "whole"
    axis: int = 0
    divisor: int = 1
    period: int = 0

    def local(self, region: Region) -> tuple[Array, Array]:
        """Local group of every weight of a region, in C order, and the groups' numbers (groups,)."""
        lengths = [stop - start for start, stop in region]
        weights = int(np.prod(lengths, dtype=np.int64))
        if self.split == "whole":
            return np.zeros(weights, dtype=np.int64), np.array([self.base])
        if self.split == "element":
            raise AssertionError("elements are numbered by `numbers`, from the parameter's whole shape")
        start, stop = region[self.axis]
        place = np.arange(start, stop)
        place = (place % self.period if self.period else place) // self.divisor
        low = int(place.min()) if place.size else 0
        shape = [1] * len(lengths)
        shape[self.axis] = lengths[self.axis]
        labels = np.broadcast_to((place - low).reshape(shape), lengths)
        groups = int(place.max()) - low + 1 if place.size else 0
        return np.ascontiguousarray(labels).reshape(-1), self.base + low + np.arange(groups)


@dataclass(frozen=True)
class Grouping:
    """The groups of a query.

    Attributes
    ----------
    by
        Kind of group, or "user" for a mapping of globs.
    columns
        Columns that identify a group, each (groups,).
    label
        (groups,) one readable name for each group.
    weights
        (groups,) int64, degrees of freedom d.
    rules
        One for each parameter that has such groups, by name.
    left_out
        Names of the parameters that have none.
    frozen
        Number of weights of the selection that are frozen and in no group.
    """

    by: str
    columns: Mapping[str, Array]
    label: Array
    weights: Array
    rules: Mapping[str, Rule]
    left_out: tuple[str, ...]
    frozen: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether no parameter is divided between groups."""
        return all(rule.split == "whole" for rule in self.rules.values())


def require_whole(grouping: Grouping, why: str) -> None:
    """Refuse groups that divide parameters; `why` is a sentence that says why the question needs whole ones.

    Raises
    ------
    GroupError
    """
    if not grouping.is_whole:
        raise GroupError(
            f"--by {grouping.by}: expected groups of whole parameters ({', '.join(WHOLE)}), got one that divides them. "
            f"{why} Write --by layer",
            by=grouping.by,
        )


def local_groups(rule: Rule, shape: Sequence[int], region: Region) -> tuple[Array, Array]:
    """Local group of every weight of a region (weights,), and the groups' numbers (groups,)."""
    if rule.split != "element":
        return rule.local(region)
    grid = np.ix_(*(np.arange(start, stop) for start, stop in region))
    numbers = np.ravel_multi_index(grid, tuple(shape)).reshape(-1) if shape else np.zeros(1, dtype=np.int64)
    return np.arange(numbers.size), rule.base + numbers


def select(
    parameters: Sequence[Parameter],
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    *,
    frozen: bool = True,
) -> tuple[Parameter, ...]:
    """The parameters whose dotted name and layer match and that are not excluded; without `frozen`, only trained ones.

    Raises
    ------
    SelectionError
        A pattern matches nothing, or nothing remains.
    """
    names = [p.name for p in parameters]
    kept = [p for p in parameters if p.name in _matching("--parameter ", parameter, names)]
    layers = _matching("--layer ", layer, list(dict.fromkeys(p.layer for p in parameters)))
    kept = [p for p in kept if p.layer in layers]
    if exclude is not None:
        dropped = _matching("--exclude ", exclude, names)
        kept = [p for p in kept if p.name not in dropped]
    if not kept:
        raise SelectionError(
            f"Selection: expected at least one parameter, got none of: {_listed(names)}. "
            "There is nothing to measure. Loosen --parameter, --layer or --exclude.",
            available=tuple(names),
        )
    if not any(p.weights for p in kept):
        raise SelectionError(
            f"Selection: expected at least one parameter with weights, got none of: {_listed([p.name for p in kept])}. "
            "There is nothing to measure. Loosen --parameter, --layer or --exclude.",
            available=tuple(names),
        )
    moving = [p for p in kept if frozen or not p.frozen]
    if not any(p.weights for p in moving):
        raise SelectionError(
            f"Selection: expected weights that are trained, got only frozen ones: {_listed([p.name for p in kept])}. "
            "They do not move, and are no degrees of freedom. Choose others, or count them all the same: --frozen "
            "(frozen=True)",
            available=tuple(names),
        )
    return tuple(moving)


def weights_of(parameters: Sequence[Parameter]) -> int:
    """The number of weights of some parameters."""
    return sum(p.weights for p in parameters)


def group(parameters: Sequence[Parameter], by: By) -> Grouping:
    """The groups of a kind (`analyzer.query.kinds`), or of a mapping from a group's name to globs over parameter names.

    Raises
    ------
    GroupError
        The kind is unknown, or no parameter has such groups.
    SelectionError
        A glob of a mapping matches nothing.
    """
    if not isinstance(by, str):
        return _user_groups(parameters, by)
    if by not in KINDS:
        raise GroupError(
            f"--by: expected one of {', '.join(KINDS)}, got {by!r}. Weights are averaged over such groups. "
            f"Write --by {nearest(by, KINDS) or 'layer'}",
            by=by,
        )
    if by in WHOLE:
        return _owner_groups(parameters, by)
    return _split_groups(parameters, by)


def most_groups(parameters: Sequence[Parameter], by: By) -> int:
    """An upper bound of the number of groups that `group` makes, from shapes alone."""
    if by == "element":
        return sum(p.weights for p in parameters)
    if by in WHOLE or not isinstance(by, str):
        return len(parameters)
    return sum(max(p.shape, default=0) for p in parameters)


def _owner_groups(parameters: Sequence[Parameter], by: str) -> Grouping:
    keys: dict[tuple[str, ...], int] = {}
    rules, weights = {}, []
    for p in parameters:
        key = {"model": (), "layer": (p.layer,), "module": (p.layer, p.module), "parameter": (p.layer, p.name)}[by]
        if key not in keys:
            keys[key] = len(keys)
            weights.append(0)
        rules[p.name] = Rule(keys[key])
        weights[keys[key]] += p.weights
    names = ("layer", by)[: len(next(iter(keys)))] if by != "layer" else ("layer",)
    columns = {name: np.array([key[n] for key in keys], dtype=object) for n, name in enumerate(names)}
    label = columns[by] if by in columns else np.array(["model"], dtype=object)
    return Grouping(by, columns, label, np.array(weights, dtype=np.int64), rules, ())


def _user_groups(parameters: Sequence[Parameter], by: Mapping[str, Globs]) -> Grouping:
    names = [p.name for p in parameters]
    rules: dict[str, Rule] = {}
    weights = []
    for number, (title, globs) in enumerate(by.items()):
        matched = _matching(f"--group {title}=", globs, names)
        for p in parameters:
            if p.name in matched:
                if p.name in rules:
                    raise GroupError(
                        f"--group {title}: expected parameters of its own, got {p.name!r}, which an earlier group has. "
                        "A weight counts in one group. Make the globs disjoint.",
                        parameter=p.name,
                    )
                rules[p.name] = Rule(number)
        weights.append(sum(p.weights for p in parameters if p.name in matched))
    if not rules:
        raise GroupError(
            "--by: expected at least one named group, got an empty mapping. There is nothing to average. "
            "Give by={'all': '*'}",
            by=by,
        )
    left_out = tuple(name for name in names if name not in rules)
    return Grouping("user", {}, np.array(list(by), dtype=object), np.array(weights, dtype=np.int64), rules, left_out)


def _split_groups(parameters: Sequence[Parameter], by: str) -> Grouping:
    rules: dict[str, Rule] = {}
    layers: list[Array] = []
    owners: list[Array] = []
    places: list[Array] = []
    weights: list[Array] = []
    base = 0
    for p in parameters:
        split = _split(p, by)
        if split is None or not p.weights:
            continue
        kind, axis, divisor, blocks = split
        length = p.weights if kind == "element" else p.shape[axis] // (divisor * blocks)
        rules[p.name] = Rule(base, kind, axis, divisor, p.shape[axis] // blocks if blocks > 1 else 0)
        layers.append(np.full(length, p.layer, dtype=object))
        owners.append(np.full(length, p.name, dtype=object))
        places.append(np.arange(length))
        weights.append(np.full(length, p.weights // length))
        base += length
    if not rules:
        raise GroupError(
            f"--by {by}: expected a parameter with {KINDS[by].needs}, got none of: "
            f"{_listed([p.name for p in parameters])}. There is nothing to group. Write --by parameter",
            by=by,
        )
    counts = np.concatenate(weights).astype(np.int64)
    if by == "output":
        _join_biases(parameters, rules, counts)
    place = KINDS[by].column
    columns = {"layer": np.concatenate(layers), "parameter": np.concatenate(owners), place: np.concatenate(places)}
    label = np.array([f"{o}[{n}]" for o, n in zip(columns["parameter"], columns[place], strict=True)], dtype=object)
    left_out = tuple(p.name for p in parameters if p.name not in rules)
    return Grouping(by, columns, label, counts, rules, left_out)


def _split(p: Parameter, by: str) -> tuple[Literal["axis", "element"], int, int, int] | None:
    """How a parameter is divided: kind, axis, places in a group, parts of the axis; None if it has no such groups.

    An attention vector (1, heads, channels) has heads and channels, but no rows and no columns.
    """
    if by == "element":
        return "element", 0, 1, 1
    if by == "head":
        if p.heads is None or p.head_axis is None or p.heads < 1 or not 0 <= p.head_axis < len(p.shape):
            return None
        if p.shape[p.head_axis] % (p.heads * p.head_blocks):
            return None
        return "axis", p.head_axis, p.shape[p.head_axis] // (p.heads * p.head_blocks), p.head_blocks
    if len(p.shape) < 2:
        return None
    if by in ("row", "column"):
        return None if "head" in p.axes else ("axis", 0 if by == "row" else 1, 1, 1)
    return ("axis", p.axes.index(by), 1, 1) if by in p.axes else None


def _join_biases(parameters: Sequence[Parameter], rules: dict[str, Rule], weights: Array) -> None:
    """Join each element of a bias to an output unit: of its own module, else of the one fitting weight of its layer."""
    units = [p for p in parameters if p.name in rules]
    for bias in parameters:
        if bias.name in rules or len(bias.shape) != 1 or bias.axes != ("output",):
            continue
        fitting = [u for u in units if u.layer == bias.layer and u.shape[rules[u.name].axis] == bias.shape[0]]
        fitting = [u for u in fitting if u.module == bias.module] or fitting
        if len(fitting) == 1:
            base = rules[fitting[0].name].base
            rules[bias.name] = Rule(base, "axis", 0, 1)
            weights[base : base + bias.shape[0]] += 1


def matches(glob: str, names: Sequence[str]) -> set[str]:
    """The names that a glob matches. A glob that equals a name means that name, even with signs such as * in it."""
    return {glob} if glob in names else {name for name in names if fnmatchcase(name, glob)}


def _matching(option: str, globs: Globs, names: Sequence[str]) -> set[str]:
    """The names that one of the globs matches; None matches all. `option` is what a user writes before the glob."""
    if globs is None:
        return set(names)
    matched: set[str] = set()
    for glob in (globs,) if isinstance(globs, str) else globs:
        found = matches(glob, names)
        if not found:
            meant = nearest(glob, names)
            remedy = f"Did you mean {meant}?" if meant else "Mend the name, or quote a pattern, as in 'conv*'."
            raise SelectionError(
                f"{option}{glob!r}: expected a pattern that matches one of: {_listed(names)}; got no match. {remedy}",
                pattern=glob,
                available=tuple(names),
            )
        matched |= found
    return matched


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that a misspelt word was most likely meant to be, or None."""
    found = get_close_matches(word, list(names), n=1)
    return found[0] if found else None


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(name or "''" for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
