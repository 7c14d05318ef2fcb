"""The plugin, as those have it who use it: in a run of pytest of their own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import ptipc.testing.conformance
from tests.testing.programs import PLAIN, TRANSPORT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the transport is one of Unix")

KEPT = ptipc.testing.conformance
"""A run of pytest inside ours forgets what it has imported, and asyncio does not survive that."""

INSTALLED = any(entry.name == "ptipc" for entry in metadata.entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "ptipc.testing.plugin")
CHECKOUT = Path(__file__).parents[2]


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest(*PLUGIN, "-p", "no:cacheprovider", *words)


def client(mutant: str = "") -> tuple[str, ...]:
    """The options that judge the transport, or a mutant of it."""
    command = ["env", f"MUTANT={mutant}", *PLAIN]
    return ("--pt-client", f"hello={shlex.join(command)}")


# --- conformance ----------------------------------------------------------------------------------


def test_cases_are_items(pytester: pytest.Pytester) -> None:
    """They are called by their ids, and are chosen as all items are."""
    result = run(pytester, "-v", *client(), "--pt-select", "client.start.o*", "-k", "not once")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["client.start.order PASSED*"])


def test_several_programs_are_told_apart(pytester: pytest.Pytester) -> None:
    server = ("--pt-server", f"hello={shlex.join(PLAIN)}")
    result = run(
        pytester,
        *("-v", *client(), *server, "--pt-dialect", "1", "--pt-dialect", "2"),
        *("--pt-select", "client.start.order", "--pt-select", "server.start.order"),
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["client-hello-PT1::client.start.order PASSED*"])
    result.stdout.fnmatch_lines(["server-hello-PT2::server.start.order PASSED*"])


def test_a_broken_must_is_a_failure_that_tells_all(pytester: pytest.Pytester) -> None:
    result = run(pytester, *client("done-twice"), "--pt-select", "client.start.once")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*client-hello-PT1: client.start.once*",
            "MUST Behind DONE come no more lines*",
            "expected *",
            "reproduce ptipc check client hello --select client.start.once -- *",
            "*stdout line *CMETHODS DONE",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_broken_should_is_a_failure_only_if_it_is_to_be(pytester: pytest.Pytester) -> None:
    words = (*client("method-socks4"), "--pt-select", "client.start.socks5")
    run(pytester, *words).assert_outcomes(xfailed=1)
    run(pytester, *words, "--pt-level", "should").assert_outcomes(failed=1)


def test_a_case_that_does_not_apply_is_skipped(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-rs", *client(), "--pt-select", "client.start.several")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs: more than one transport was named"])


def test_known_failures_are_expected(pytester: pytest.Pytester) -> None:
    """And to pass is none of them."""
    expect = pytester.makefile(
        ".toml",
        known='fixtures = "0.1.0"\n[fail."client.start.once"]\nreason = "it stutters"\n'
        '[skip]\n"client.start.order" = "not now"\n',
    )
    words = ("--pt-expect", str(expect), "--pt-select", "client.start.o*")
    result = run(pytester, "-rx", *client("done-twice"), *words)
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*it stutters*"])
    result = run(pytester, *client(), *words)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it passes, but is expected to fail: it stutters*"])


def test_a_program_that_does_not_start_is_a_failure(pytester: pytest.Pytester) -> None:
    result = run(
        pytester, *client("done-missing"), "--pt-select", "client.start.o*", "--pt-timeout", "0.5"
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["it did not start", "*and goes on*"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--pt-client", "nothing"], "not NAME=COMMAND: nothing"),
        (["--pt-client", "a=b", "--pt-select", "no.such.case"], "no conformance case is selected"),
        (["--pt-client", "a=b", "--pt-dialect", "9"], "not an edition: 9"),
        (["--pt-client", "a=b", "--pt-expect", "/nonexistent"], "/nonexistent"),
    ],
)
def test_a_wrong_command_line(pytester: pytest.Pytester, words: list[str], complaint: str) -> None:
    result = run(pytester, *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{complaint}*"])


# --- what tests are given -------------------------------------------------------------------------

HEAD = f"""
import pytest
from ptipc.testing.fakept import Exit, Listen
from tests.testing.programs import echo_server
PLAIN = {PLAIN!r}
"""


def given(pytester: pytest.Pytester, source: str) -> None:
    pytester.syspathinsert(CHECKOUT)
    pytester.makepyfile(HEAD + source)


def test_a_transport_is_launched_and_ended(pytester: pytest.Pytester) -> None:
    given(
        pytester,
        """
        seen = []

        def test_echo(pt_launch, socks_client):
            with echo_server() as target:
                process = pt_launch(PLAIN, client=["hello"])
                seen.append(process)
                port = process.port("hello").address
                for stream in (process.dial_socket("hello", target), socks_client(port, target)):
                    with stream:
                        stream.sendall(b"hello")
                        assert stream.recv(5) == b"hello"

        def test_end():
            assert seen[0].returncode == 0
        """.replace("\n        ", "\n"),
    )
    run(pytester).assert_outcomes(passed=2)


def test_what_a_process_has_said_is_shown_on_failure(pytester: pytest.Pytester) -> None:
    given(
        pytester,
        "def test_it(pt_launch, fake_pt):\n"
        '    fake = fake_pt("VERSION 1", "LOG SEVERITY=notice MESSAGE=hello", "CMETHODS DONE")\n'
        '    pt_launch(fake.command, client=["foo"], require=[])\n'
        "    assert False\n",
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*transport process *fake-pt-1.py*", "*hello*"])


def test_the_fakes(pytester: pytest.Pytester) -> None:
    given(
        pytester,
        "def test_it(fake_pt, fake_host):\n"
        '    one, other = fake_pt(Listen("foo")), fake_pt(Exit(3))\n'
        '    host = fake_host(one.command, client=["foo"])\n'
        '    assert host.wait_for("CMETHOD foo socks5 *")\n'
        '    assert fake_host(other.command, client=["foo"]).wait() == 3\n',
    )
    run(pytester).assert_outcomes(passed=1)


def test_an_extended_orport(pytester: pytest.Pytester) -> None:
    """A server brings its clients there, also when the cookie was changed."""
    given(
        pytester,
        """
        import socket

        def test_it(pt_launch, ext_or_port):
            server = pt_launch(PLAIN, server={"hello": None}, **ext_or_port.settings)
            address = server.session.methods["hello"].address
            for number in (1, 2):
                with socket.create_connection((address.host, address.port), 10) as stream:
                    stream.sendall(b"hello")
                    assert stream.recv(5) == b"hello"
                    client = ext_or_port.wait_for_client(number)
                    assert client.transport == "hello"
                    assert (client.address.host, client.address.port) == stream.getsockname()
                ext_or_port.rotate()
            with pytest.raises(TimeoutError):
                ext_or_port.wait_for_client(3, timeout=0.01)
        """.replace("\n        ", "\n"),
    )
    run(pytester).assert_outcomes(passed=1)


def test_an_upstream_proxy(pytester: pytest.Pytester) -> None:
    given(
        pytester,
        """
        @pytest.mark.parametrize("kind", ["http", "socks4a", "socks5"])
        def test_it(pt_launch, upstream_proxy, kind):
            proxy = upstream_proxy(kind, user="me")
            process = pt_launch(PLAIN, client=["hello"], proxy=proxy.place)
            with echo_server() as target, process.dial_socket("hello", target) as stream:
                stream.sendall(b"hello")
                assert stream.recv(5) == b"hello"
                assert proxy.passages[0].user == "me"
                assert proxy.asked == [target]
        """.replace("\n        ", "\n"),
    )
    run(pytester).assert_outcomes(passed=3)


def test_a_test_is_run_for_each_case(pytester: pytest.Pytester) -> None:
    given(
        pytester,
        """
        @pytest.mark.pt_cases("codec/boolean", dialect="1")
        def test_it(pt_case):
            assert pt_case.fixture == "codec/boolean"
        """.replace("\n        ", "\n"),
    )
    result = run(pytester, "--strict-markers")
    assert result.parseoutcomes()["passed"] > 3


def test_cases_that_do_not_exist_are_an_error(pytester: pytest.Pytester) -> None:
    given(pytester, '@pytest.mark.pt_cases("codec/x")\ndef test_it(pt_case):\n    pass\n')
    result = run(pytester)
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*no such cases*"])


def test_a_run_that_does_not_need_it_pays_nothing_for_it() -> None:
    """Least of all the import of the core, whose coverage somebody may be measuring."""
    code = (
        "import sys, ptipc.testing.plugin\n"
        "print([name for name in sys.modules if name.startswith('ptipc.')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "['ptipc.doors', 'ptipc.testing', 'ptipc.testing.plugin']"
    assert TRANSPORT.exists()
