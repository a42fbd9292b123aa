"""Interrupts that an engine turned into a result: what loops over fits must end on them, and not count half a fit."""

import select
import signal
import socket
import threading
from collections.abc import Iterator
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
