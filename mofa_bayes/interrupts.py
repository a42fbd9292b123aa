"""Interrupts: an engine turns one into a result, and what loops over fits must end on it, not count half a fit."""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def heed_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block where one came during it.

    Engines take Ctrl-C as a wish to stop with what they have reached, by handlers of their own. The signal's number is
    written to a socket whatever the handlers; outside the main thread none arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    with heard, told:
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
        came = select.select([heard], [], [], 0)[0] and signal.SIGINT in heard.recv(4096)
    if came:
        raise KeyboardInterrupt


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C as a wish to end in good order, and give a function that tells of it.

    A second one interrupts as usual. The function tells of none in a process forked meanwhile, nor outside the main
    thread, where none arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before, home = signal.getsignal(signal.SIGINT), os.getpid()
    came: list[int] = []

    def note(number: int, frame: object) -> None:  # noqa: ARG001
        came.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came) and os.getpid() == home
    finally:
        signal.signal(signal.SIGINT, before)
