"""What a launch needs of the operating system beside the process itself; nothing here waits.

A state directory that goes with the process, a cookie file for an Extended ORPort, and the start.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator

from attrs import define, evolve, field

from ptipc.children import Child, nature, write_secret
from ptipc.core.account import start_error
from ptipc.core.config import Config
from ptipc.core.extorport import serialize_cookie_file
from ptipc.core.launch import Plan

__all__ = ["CookieFile", "spawn", "with_state"]


def spawn(plan: Plan) -> Child:
    """Start the process of a plan.  Raises LaunchError if it cannot be started."""
    program = plan.command[0]
    inherited = os.environ if plan.environ is None else plan.environ
    invocation = plan.invocation()
    environ = invocation.environment(inherited)
    try:
        return Child(
            [*plan.command, *invocation.argv],
            environ=environ,
            cwd=plan.cwd,
            umask=plan.umask,
            guard=plan.guard,
        )
    except OSError as error:
        user = os.geteuid() if hasattr(os, "geteuid") else None
        raise start_error(error, program, nature(program, environ), user=user) from error


@contextlib.contextmanager
def with_state(config: Config) -> Iterator[Config]:
    """A configuration with an absolute state directory; one of ours if there is none, meanwhile."""
    with contextlib.ExitStack() as stack:
        state = config.state
        if state is None or state == config.dialect.state_default:
            state = tempfile.mkdtemp(prefix="ptipc-")
            stack.callback(shutil.rmtree, state, ignore_errors=True)
        yield evolve(config, state=os.path.abspath(os.path.expanduser(state)))


@define(eq=False)
class CookieFile:
    """The key to an Extended ORPort, and the file that it is in (ext-orport-spec section 2)."""

    path: str | None = None
    """The file; None: one is made, in a directory that is removed with it."""
    cookie: bytes = field(default=b"", init=False, repr=False)
    _directory: str | None = field(default=None, init=False)

    def make(self) -> None:
        """Make the file, if need be with a directory for it.  Raises OSError."""
        if self.path is None:
            self._directory = tempfile.mkdtemp(prefix="ptipc-")
            self.path = os.path.join(self._directory, "extended_orport_auth_cookie")
        self.rotate()

    def rotate(self) -> None:
        """Make a new cookie, and replace the file in one step.

        Raises OSError, and then the old one is still good.
        """
        assert self.path is not None
        cookie = secrets.token_bytes(32)
        write_secret(self.path, serialize_cookie_file(cookie))
        self.cookie = cookie

    def remove(self) -> None:
        """Remove what was made here, but for a file that was asked for."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = self.path = None
