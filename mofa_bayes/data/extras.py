"""Optional libraries, imported when first needed, with a clear word where they are absent."""

from importlib import import_module
from types import ModuleType

from mofa_bayes.errors import MissingExtraError


def import_extra(module: str, extra: str, what: str) -> ModuleType:
    """Import a library of an extra.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            what,
            got=f"no library {module.split('.')[0]!r} on this machine",
            expected=f"the extra {extra!r}",
            do=f'Install it: pip install "mofa-bayes[{extra}]".',
        ) from error
