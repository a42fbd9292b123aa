"""FactorModel to TOML and back, with kind tags for priors; every unknown name is refused."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mofa_bayes.errors import FileError, SpecError, name_some
from mofa_bayes.spec.model import FactorModel, ViewModel
from mofa_bayes.spec.priors import FACTOR_PRIORS, PRIORS, FactorPrior, Gamma, Prior

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 8


def write_model(model: FactorModel) -> str:
    """Write a model as TOML text."""
    import tomli_w

    table: dict[str, Any] = {
        "n_factors": model.n_factors,
        "scale": model.scale,
        "scale_groups": model.scale_groups,
        "intercept_scale": model.intercept_scale,
        "min_variance": model.min_variance,
        "loadings": _write_prior(model.loadings),
        "factors": _write_prior(model.factors),
        "noise": _write_gamma(model.noise),
    }
    views = {name: _write_view(view) for name, view in model.views.items()}
    return tomli_w.dumps({"model": table | ({"views": views} if views else {})})


def read_model(source: str | Path) -> FactorModel:
    """Read a model from TOML text or from a file; the table is `[model]`, other tables are left to their owners."""
    text = _read_file(source) if isinstance(source, Path) else source
    if not isinstance(text, str):
        raise SpecError(
            "model in TOML", got=type(source).__name__, expected="text, or a Path to a file", do="Pass one of these."
        )
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(
            "model in TOML", got=str(error)[:120], expected="valid TOML", do="Correct the text at that place."
        ) from error
    table = _require_table("model in TOML", tables.get("model"))
    _require_plain(table)
    _refuse_unknown("model", table, {f.name for f in fields(FactorModel)})
    values: dict[str, Any] = dict(table)
    if "loadings" in values:
        values["loadings"] = _read_prior("loadings", values["loadings"], PRIORS)
    if "factors" in values:
        values["factors"] = _read_prior("factors", values["factors"], FACTOR_PRIORS)
    if "noise" in values:
        values["noise"] = _read_gamma("noise", values["noise"])
    if "views" in values:
        views = _require_table("views", values["views"])
        values["views"] = {name: _read_view(name, view) for name, view in views.items()}
    return FactorModel(**values)


def _read_file(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FileError(
                f"model file {path.name!r}", got="more than 1 MB", expected="a short TOML file", do="Check the path."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"model file {path.name!r}",
            got=type(error).__name__,
            expected="a readable UTF-8 text file",
            do="Check the path and its permissions.",
        ) from error


def _write_gamma(gamma: Gamma) -> dict[str, float]:
    return {"shape": gamma.shape, "rate": gamma.rate}


def _write_prior(prior: Prior | FactorPrior) -> dict[str, Any]:
    own = {f.name: getattr(prior, f.name) for f in fields(prior)}
    return {"kind": prior.kind} | {k: _write_gamma(v) if isinstance(v, Gamma) else v for k, v in own.items()}


def _write_view(view: ViewModel) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if view.loadings is not None:
        table["loadings"] = _write_prior(view.loadings)
    if view.scale is not None:
        table["scale"] = view.scale
    return table


def _read_gamma(what: str, table: object) -> Gamma:
    values = _require_table(what, table)
    _refuse_unknown(what, values, {"shape", "rate"})
    return Gamma(**values)


def _read_prior(what: str, table: object, kinds: Mapping[str, type[Any]]) -> Any:  # noqa: ANN401
    values = dict(_require_table(what, table))
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise SpecError(
            f"kind of prior on {what}", got=repr(kind), expected=f"one of {', '.join(kinds)}", do="Name one of these."
        )
    prior = kinds[kind]
    _refuse_unknown(f"{kind} prior", values, {f.name for f in fields(prior)})
    for name in ("precision", "rate"):
        if name in values:
            values[name] = _read_gamma(name, values[name])
    return prior(**values)


def _read_view(name: str, table: object) -> ViewModel:
    values = dict(_require_table(f"view {name!r}", table))
    _refuse_unknown(f"view {name!r}", values, {f.name for f in fields(ViewModel)})
    if "loadings" in values:
        values["loadings"] = _read_prior("loadings", values["loadings"], PRIORS)
    return ViewModel(**values)


def _require_table(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        got = "nothing" if value is None else type(value).__name__
        raise SpecError(what, got=got, expected="a TOML table", do="See models/mofa/model.toml for an example.")
    return value


def _require_plain(table: Mapping[str, Any]) -> None:
    """Refuse what Python can neither use nor show in a message: integers beyond 64 bits, values nested without end."""
    level: list[Any] = [table]
    for _ in range(_MAX_DEPTH):
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in level):
            break
        inside = (v.values() if isinstance(v, Mapping) else v for v in level if isinstance(v, Mapping | list))
        level = [value for values in inside for value in values]
        if not level:
            return
    raise SpecError(
        "model in TOML",
        got="an integer of more than 64 bits, or values nested too deeply",
        expected="the names and numbers of a FactorModel",
        do="Shorten it; see models/mofa/model.toml for an example.",
    )


def _refuse_unknown(what: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = [name for name in table if name not in known]
    if unknown:
        raise SpecError(
            what,
            got=f"unknown names ({name_some(unknown)})",
            expected=f"names among {', '.join(sorted(known))}",
            do="Correct the spelling or remove them.",
        )
