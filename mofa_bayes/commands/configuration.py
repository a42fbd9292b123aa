"""Configuration: a TOML file with the model, how views are read and prepared, and what events become."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mofa_bayes.data.events import Count, Latest, Mean, Presence
from mofa_bayes.data.events.rules import Rule
from mofa_bayes.data.steps import Step
from mofa_bayes.data.steps.preparation import read_steps
from mofa_bayes.errors import FileError, SpecError, name_some
from mofa_bayes.spec import FactorModel
from mofa_bayes.spec.toml import read_model

_TABLES = ("model", "steps", "likelihoods", "events")
_RULES: Mapping[str, type[Rule]] = {"presence": Presence, "count": Count, "latest": Latest, "mean": Mean}
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a file of ours says; what it leaves out is as it is by default.

    Attributes
    ----------
    model
        Table `[model]`, or None.
    steps
        Table `[steps]`: view -> steps.
    likelihoods
        Table `[likelihoods]`: view -> likelihood, or a table by column.
    rules
        Table `[events]`: view -> rule, as `{ rule = "latest", codes = "LAB//*", within = "48h" }`.
    """

    model: FactorModel | None = None
    steps: Mapping[str, list[Step]] = field(default_factory=dict)
    likelihoods: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)


def read_configuration(path: Path | None) -> Configuration:
    """Read a configuration.

    Raises
    ------
    FileError
        The file cannot be read.
    SpecError
        It is no TOML, or says something that we do not know.
    """
    if path is None:
        return Configuration()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FileError(
                f"file {path.name!r}", got="more than 1 MB", expected="a short TOML file", do="Check the path."
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"file {path.name!r}", got=type(error).__name__, expected="a readable TOML file", do="Check the path."
        ) from error
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(
            f"file {path.name!r}", got=str(error)[:120], expected="valid TOML", do="Correct it there."
        ) from error
    unknown = [name for name in tables if name not in _TABLES]
    if unknown:
        raise SpecError(
            f"file {path.name!r}",
            got=f"tables {name_some(unknown)}",
            expected=f"some of {', '.join(_TABLES)}",
            do="Correct their names.",
        )
    return Configuration(
        model=read_model(text) if "model" in tables else None,
        steps=read_steps(tables.get("steps", {})),
        likelihoods=_read_likelihoods(tables.get("likelihoods", {})),
        rules=_read_rules(tables.get("events", {})),
    )


def _read_likelihoods(table: object) -> dict[str, str | dict[str, str]]:
    if not isinstance(table, Mapping) or not all(isinstance(own, str | Mapping) for own in table.values()):
        raise SpecError(
            "likelihoods",
            got=repr(table)[:80],
            expected="view = likelihood, or a table by column",
            do='Write ehr = "bernoulli" below [likelihoods].',
        )
    return {
        str(view): own if isinstance(own, str) else {str(k): str(v) for k, v in own.items()}
        for view, own in table.items()
    }


def _read_rules(table: object) -> dict[str, Rule]:
    if not isinstance(table, Mapping) or not all(isinstance(own, Mapping) for own in table.values()):
        raise SpecError(
            "events",
            got=repr(table)[:80],
            expected="a table for each view",
            do='Write labs = { rule = "latest", codes = "LAB//*" } below [events].',
        )
    return {str(view): _read_rule(str(view), own) for view, own in table.items()}


def _read_rule(view: str, table: Mapping[str, object]) -> Rule:
    kind = str(table.get("rule"))
    if kind not in _RULES:
        raise SpecError(f"rule of view {view!r}", got=repr(kind), expected=f"one of {', '.join(_RULES)}", do="Name it.")
    try:
        return _RULES[kind](**{name: value for name, value in table.items() if name != "rule"})  # type: ignore[arg-type]
    except TypeError as error:
        raise SpecError(
            f"rule of view {view!r}",
            got=f"options {name_some(set(table) - {'rule'})}",
            expected="options that it has",
            do="Correct their names.",
        ) from error
