"""A transport process as a process: what becomes of signals when it has served already."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.aio.programs import running, write_program

WHEN = {
    "after serving": """
        import os, signal, threading
        from ptipc.{layer} import StreamTransport, run

        try:
            run(StreamTransport("hello"))
        finally:
            os.kill(os.getpid(), signal.{name})
            threading.Event().wait()
    """,
    "at exit": """
        import atexit, os, signal
        from ptipc.{layer} import StreamTransport, run

        atexit.register(os.kill, os.getpid(), signal.{name})
        run(StreamTransport("hello"))
    """,
    "at the very end": """
        import os, signal
        from ptipc.{layer} import StreamTransport, run

        class Late:
            def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.{name}):
                kill(pid, number)

        late = Late()
        run(StreamTransport("hello"))
    """,
}


@pytest.mark.parametrize("layer", ["aio", "blocking"])
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_late_does_not_change_the_exit_status(
    layer: str, when: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Serving has ended well; who is stuck after that is ended by the signal, as well as that."""
    command = write_program(tmp_path, WHEN[when].format(layer=layer, name=number.name))
    with running(command, client=["hello"]) as program:
        program.until("CMETHODS DONE")
        program.close_stdin()
        assert program.end() == 0
