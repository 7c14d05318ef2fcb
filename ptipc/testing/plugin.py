"""The plugin for pytest: conformance cases as test items, and fixtures for tests of transports.

::

    pytest --pt-client obfs4="obfs4proxy" --pt-server obfs4="obfs4proxy" --pt-expect known.toml

plays the cases of ``ptipc check`` and reports each as a test.  What breaks a MUST fails; what
breaks less is an expected failure, unless ``--pt-level`` says that it counts.

Nothing of ptipc is imported before it is used: pytest loads this module in every run.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import socket

    from ptipc.blocking.host import TransportProcess
    from ptipc.testing.conformance import Judge
    from ptipc.testing.extorport import ExtOrPort
    from ptipc.testing.fakehost import FakeHost
    from ptipc.testing.fakept import FakePT, Step
    from ptipc.testing.proxies import Kind, Proxy

LEVELS = ("must", "should", "may", "interop")

STOP = (0.5, 0.5)
"""How many seconds a process has to end when a test is over."""

Launch = Callable[..., "TransportProcess"]
"""What the fixture ``pt_launch`` is: call it as ``ptipc.blocking.launch``."""

_PROCESSES = pytest.StashKey[list["TransportProcess"]]()


# --- the command line -----------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what the plugin can be told."""
    group = parser.getgroup("ptipc", "conformance of transport processes")
    for role in ("client", "server"):
        group.addoption(
            f"--pt-{role}",
            action="append",
            default=[],
            metavar="NAME=COMMAND",
            help=f"judge the {role} transport NAME of a program",
        )
    for name, text in {
        "dialect": "the edition: 1 (the default), 2, 2.2, 3.0",
        "select": "only these cases: an id, the beginning of one up to a dot, or with * and ?",
        "skip": "not these cases",
        "args": "KEY=VALUE: what a connection of the transport needs",
    }.items():
        group.addoption(f"--pt-{name}", action="append", default=[], help=text)
    group.addoption(
        "--pt-level",
        choices=LEVELS,
        default="must",
        help="the least binding rules of which a breach is a failure (default: must)",
    )
    group.addoption(
        "--pt-expect", type=Path, metavar="FILE", help="a list of failures that are known"
    )
    group.addoption(
        "--pt-timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long the program may take for one thing (default: 10)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line(
        "markers",
        "pt_cases(fixture, ..., dialect=None): run the test for each case of these files of"
        ' spec-fixtures ("codec/client-args", or "codec"), as the argument pt_case',
    )


# --- conformance cases as items -------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add an item for each case and program; -k and -m choose among them as among all others."""
    programs = [
        (role, text) for role in ("client", "server") for text in config.getoption(f"pt_{role}")
    ]
    if not programs:
        return
    from ptipc.testing.conformance import judges

    try:
        found = judges(programs, config.option)
    except (OSError, ValueError, LookupError) as error:
        raise pytest.UsageError(str(error)) from None
    for judge in found:
        collector = ConformanceProgram.from_parent(session, name=judge.name, nodeid=judge.name)
        prefix = f"{judge.name}::" if len(found) > 1 else ""
        for case in judge.cases:
            items.append(
                ConformanceItem.from_parent(
                    collector, name=case.id, nodeid=prefix + case.id, judge=judge
                )
            )


class ConformanceProgram(pytest.Collector):
    """A program that is judged, in one role and edition."""

    def collect(self) -> Iterable[pytest.Item]:
        """Nothing more: the items were made with the program."""
        return []


class ConformanceItem(pytest.Item):
    """One case, and the verdict on the program."""

    def __init__(self, *, judge: Judge, **more: Any) -> None:
        super().__init__(**more)
        self.judge = judge
        self.case = judge.case(self.name)
        for name in ("conformance", self.case.level.lower()):
            self.keywords[name] = True

    def runtest(self) -> None:
        """Give the verdict; the first item plays the cases of all those that are to be run."""
        chosen = [
            item.name
            for item in self.session.items
            if isinstance(item, ConformanceItem) and item.judge is self.judge
        ]
        # With pytest-xdist the others are somebody else's business.
        alone = hasattr(self.config, "workerinput") or self.name not in chosen
        verdict = self.judge.verdict(self.name, [self.name] if alone else chosen)
        kind, text = self.judge.judgement(verdict)
        if kind == "skip":
            pytest.skip(text)
        elif kind == "xfail":
            pytest.xfail(text)
        elif kind == "fail":
            raise Deviation(text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The finding, without a traceback that leads nowhere."""
        if isinstance(excinfo.value, Deviation):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What pytest puts over a failure."""
        return self.path, None, f"{self.judge.name}: {self.name}"


class Deviation(Exception):
    """A program breaks a rule, and that counts."""


# --- fixtures of spec-fixtures --------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked ``pt_cases`` for each of the cases."""
    marks = list(metafunc.definition.iter_markers("pt_cases"))
    if not marks:
        return
    from ptipc.testing.conformance import fixture_cases

    found = [case for mark in marks for case in fixture_cases(*mark.args, **mark.kwargs)]
    if not found:
        raise pytest.UsageError(f"pt_cases: no such cases: {[mark.args for mark in marks]}")
    metafunc.parametrize("pt_case", found, ids=[case.id for case in found])


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture
def pt_launch(request: pytest.FixtureRequest) -> Iterator[Launch]:
    """Starts transport processes as a host; what they said is shown if the test fails.

    ``pt_launch(["my-transport"], client=["foo"])`` is a ``TransportProcess`` of ``ptipc.blocking``
    that is up, and that is ended with the test.
    """
    from ptipc.blocking.host import launch

    processes = request.node.stash.setdefault(_PROCESSES, [])
    with contextlib.ExitStack() as stack:

        def start(command: Iterable[Any], **settings: Any) -> TransportProcess:
            given = {"stop_timeouts": STOP, **settings}
            process = stack.enter_context(launch(command, **given))
            processes.append(process)
            return process

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Show what the transport processes of a test that failed have said."""
    report: pytest.TestReport = yield  # type: ignore[misc,assignment]
    if report.failed:
        from ptipc.core.diagnosis import log_text

        for process in item.stash.get(_PROCESSES, []):
            said = [log_text(event) for event in process.transcript]
            report.sections.append(
                (f"transport process {shlex.join(map(str, process.command))}", "\n".join(said))
            )
    return report  # type: ignore[return-value]


@pytest.fixture
def fake_pt(tmp_path: Path) -> Callable[..., FakePT]:
    """Writes transport processes that say what they are told to; see ``ptipc.testing.fakept``.

    ``fake_pt("VERSION 1", Pause(0.5), Listen("foo"), "CMETHODS DONE")`` is the path of one.
    """
    from ptipc.testing.fakept import write_fake_pt

    count = 0

    def write(*steps: Step, deaf: bool = False) -> FakePT:
        nonlocal count
        count += 1
        return write_fake_pt(tmp_path / f"fake-pt-{count}.py", *steps, deaf=deaf)

    return write


@pytest.fixture
def fake_host() -> Iterator[Callable[..., FakeHost]]:
    """Starts processes as a host that takes everything down; see ``ptipc.testing.fakehost``.

    ``fake_host(["my-transport"], client=["foo"]).wait_for("CMETHODS DONE")``
    """
    from ptipc.testing.fakehost import FakeHost

    with contextlib.ExitStack() as stack:

        def start(command: Iterable[Any], **settings: Any) -> FakeHost:
            return stack.enter_context(FakeHost(command, **settings))

        yield start


# --- what transports connect to, and who connects to them -----------------------------------------


@pytest.fixture
def ext_or_port() -> Iterator[ExtOrPort]:
    """An Extended ORPort that sends everything back, and knows who came.

    ``pt_launch(["my-transport"], server=["foo"], **ext_or_port.settings)``; ``rotate()`` makes a
    new cookie.
    """
    from ptipc.testing.extorport import ExtOrPort

    with ExtOrPort() as port:
        yield port


@pytest.fixture
def upstream_proxy() -> Iterator[Callable[..., Proxy]]:
    """Starts upstream proxies that keep books; see ``ptipc.testing.proxies``.

    ``proxy = upstream_proxy("socks5", user="me", password="secret")``, then
    ``pt_launch(["my-transport"], client=["foo"], proxy=proxy.place)`` and ``proxy.passages``.
    """
    from ptipc.testing.proxies import Proxy

    with contextlib.ExitStack() as stack:

        def start(kind: Kind, user: str | None = None, password: str | None = None) -> Proxy:
            return stack.enter_context(Proxy(kind, user, password))

        yield start


@pytest.fixture
def socks_client() -> Iterator[Callable[..., socket.socket]]:
    """Connects through the port of a transport; see ``ptipc.testing.clients.socks_connect``.

    ``socks_client("127.0.0.1:4711", target, {"cert": "..."})`` is a connected socket, closed with
    the test.
    """
    from ptipc.testing.clients import socks_connect

    with contextlib.ExitStack() as stack:

        def connect(port: Any, target: Any, args: Any = (), **more: Any) -> socket.socket:
            return stack.enter_context(socks_connect(port, target, args, **more))

        yield connect
