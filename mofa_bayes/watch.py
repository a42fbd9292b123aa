"""Is anyone watching? Progress is shown on a terminal or in Jupyter, and nowhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def is_watched() -> bool:
    """Say whether standard error is a terminal or a notebook's cell."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


@contextmanager
def counting(progress: bool, title: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of `total` pieces of work, which moves a bar where somebody sees it."""
    if not progress or not is_watched():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda: bar.advance(task)
