"""Is anyone watching? Progress is shown on a terminal or in Jupyter, and nowhere else."""


def is_watched() -> bool:
    """Say whether standard error is a terminal or a notebook's cell."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter
