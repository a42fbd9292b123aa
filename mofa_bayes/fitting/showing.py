"""Progress of long work, where somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mofa_bayes.engines.vi.climber import Progress
from mofa_bayes.watch import is_watched


@contextmanager
def showing_passes(progress: bool, callback: Progress | None) -> Iterator[Progress | None]:
    """Give a function that shows iteration and bound and calls back, or None where nobody would see it."""
    if not progress or not is_watched():
        yield callback
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with Bar(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("fitting factors")

        def tell(n: int, bound: float) -> object:
            bar.update(task, description=f"fitting factors: iteration {n}, bound {bound:,.1f}")
            return None if callback is None else callback(n, bound)

        yield tell


@contextmanager
def showing_draws(progress: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that shows how many sweeps are done, or None where nobody would see it."""
    if not progress or not is_watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("sampling factors", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
