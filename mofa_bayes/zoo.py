"""The model zoo: one folder per model with model.toml and card.md, found beside the package."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from mofa_bayes.errors import SpecError
from mofa_bayes.spec import FactorModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of the zoo: its name, a line about it, its source, and where its files are."""

    name: str
    title: str
    source: str
    folder: Path

    @property
    def card(self) -> str:
        """The model's card, in Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")


def list_models() -> list[ModelEntry]:
    """List the models of the zoo, by name."""
    entries = []
    for path in sorted(_find_zoo().glob("*/model.toml")):
        about = tomllib.loads(path.read_text(encoding="utf-8"))["about"]
        entries.append(
            ModelEntry(name=path.parent.name, title=about["title"], source=about["source"], folder=path.parent)
        )
    return entries


def load_model(name: str) -> FactorModel:
    """Load a model of the zoo by name.

    Raises
    ------
    SpecError
        The zoo has no model of that name.
    """
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        raise SpecError(
            "model", got=repr(name), expected=f"one of {', '.join(entries)}", do="List them: mofa-bayes models."
        )
    return FactorModel.from_toml(entries[name].folder / "model.toml")


def _find_zoo() -> Path:
    """`_models` inside an installed wheel, `models/` beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"
