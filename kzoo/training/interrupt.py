"""Ctrl-C and SIGTERM during training: save after the step, then stop."""

import signal
import sys
import threading
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 + the signal's number, as shells report it


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal after a checkpoint was saved.

    Attributes:
        message: what was saved and how to go on.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class StopRequest:
    """Within it, the first SIGINT or SIGTERM only sets ``signal``; a second Ctrl-C stops at once.

    Python runs signal handlers in the main thread alone: elsewhere it does nothing.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._request) for one in EXIT_CODES}
        return self

    def __exit__(self, *exception):
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}

    @property
    def exit_code(self) -> int:
        """The code to exit with."""
        return EXIT_CODES[self.signal] if self.signal is not None else 0

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        print(
            f"\n{self.signal.name}: saving after this step. Ctrl-C again stops at once, without saving.",
            file=sys.stderr,
            flush=True,
        )
