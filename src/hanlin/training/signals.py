"""SIGINT and SIGTERM ask a run to save and leave; a second one ends the process at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_ASKED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Notes the first signal while the context is open; the handlers of before are put back after.

    The system's own handling takes over from the first signal on, so that the second ends the
    process even inside a long computation; what is on the disk is whole at every moment. Under
    torchrun, which passes on what the terminal sent already, later ones are ignored instead.
    In a thread that is not the main one, where Python allows no handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that came, if one did."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKED:
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        then = signal.SIG_IGN if "TORCHELASTIC_RUN_ID" in os.environ else signal.SIG_DFL
        for other in _ASKED:
            signal.signal(other, then)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
