"""The judgements: what a case expects, held against transcripts that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.conformance.cases import Case
from ptipc.conformance.checks import OUTCOME, judge, matches, step_problem, verdict_of
from ptipc.conformance.verdicts import END, Entry, Outcome, Transcript

LAUNCH = {
    "command": ["pt"],
    "argv": [],
    "set": {},
    "role": "client",
    "dialect": "1",
    "transports": ["foo"],
    "proxy": False,
    "values": {
        "version": "1",
        "transport": "foo",
        "stream": "stdout",
        "state-files": "state/pt",
        "client": "127.0.0.1:5",
    },
    "capabilities": [],
}


def case(script: Sequence[Any] = (), expect: Mapping[str, Any] | None = None, **more: Any) -> Case:
    """A case with a script and what it expects."""
    return Case(
        id="client.start.x",
        title="",
        level="MUST",
        requirements=("pt.x",),
        contradictions=(),
        dialects=("1",),
        section="3.3",
        rule="",
        result="valid",
        op="process/client",
        fixture="process/x",
        content={"input": {}, "script": list(script), "expect": expect or {}, **more},
    )


def entry(channel: str, event: str, text: str = "", **more: Any) -> Entry:
    return Entry(at=1.0, who="target", channel=channel, event=event, text=text, **more)


def said(*lines: str, stream: str = "stdout") -> list[Entry]:
    return [entry(stream, "line", line) for line in lines]


def transcript(*entries: Entry, **launch: Any) -> Transcript:
    return Transcript(entries=entries, launch={**LAUNCH, **launch})


def problem(expect: Mapping[str, Any], *entries: Entry, **launch: Any) -> str | None:
    """What is found against a program that did this."""
    found = judge(case(expect=expect), transcript(*entries, **launch))
    return None if found is None else f"{found.expected} / {found.got}"


# --- patterns -------------------------------------------------------------------------------------


@given(st.text("ab*?", max_size=8), st.text("ab*?", max_size=8))
def test_a_pattern_is_one_of_the_shell_without_brackets(text: str, pattern: str) -> None:
    assert matches(text, pattern) == fnmatchcase(text, pattern)


def test_brackets_are_nothing_special() -> None:
    """Addresses have them."""
    assert matches("SMETHOD a [::1]:5", "SMETHOD a [::1]:*")
    assert not matches("SMETHOD a :", "SMETHOD a [::1]")


# --- steps ----------------------------------------------------------------------------------------

GRANTED = "05 00 00 01 00 00 00 00 00 00"
REFUSED = "05 05 00 01 00 00 00 00 00 00"


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        ({"ready": True}, "ready"),
        ({"running": True}, "running"),
        ({"hear": "VERSION *"}, "heard"),
        ({"exit": True}, "gone"),
        ({"connect": True}, "opened"),
        ({"connect": "not-opened"}, "not-opened"),
        ({"accept": True}, "accepted"),
        ({"accept": "not-accepted"}, "not-accepted"),
        ({"receive": "05 .."}, "05 02"),
        ({"receive": "01 ..", "not": "01 00"}, "01 ff"),
        ({"receive_datagram": "61"}, "61"),
        ({"reply": "granted"}, GRANTED),
        ({"reply": "granted"}, REFUSED),  # by a transport that does not grant without args
        ({"reply": "refused"}, REFUSED),
        ({"reply": "any"}, REFUSED),
        ({"reply": [5, 1]}, REFUSED),
        ({"reply": "refused", "or_closed": True}, "reset"),
        ({"reply": "any", "socks": 4}, "00 5b 00 00 00 00 00 00"),
        ({"closed": True}, "reset"),
        ({"closed": "eof"}, "eof"),
        ({"closed": True, "goodbye": True}, f"{REFUSED} eof"),
        ({"quiet": 1.0}, "quiet"),
        ({"dial": "granted"}, "granted"),
        ({"dial": "refused"}, "refused 05"),
        ({"dial": "refused 05"}, "refused 05"),
        ({"dial": "turned-away"}, "eof"),
        ({"dial": "any"}, "refused 01"),
        ({"dial": "whatever"}, "timeout"),
        ({"echo": 10}, "echoed"),
        ({"settle": 1.0}, ""),
    ],
)
def test_a_step_that_came_out_right(step: dict[str, Any], outcome: str) -> None:
    assert step_problem(step, outcome) is None


@pytest.mark.parametrize(
    ("step", "outcome", "expected", "got"),
    [
        ({"ready": True}, "timeout", "DONE is said", "no answer in time"),
        ({"running": True}, "gone", "the process goes on", "the process had ended"),
        ({"hear": "A*"}, "gone", "a line 'A*'", "the process had ended"),
        ({"exit": True}, "timeout", "the process ends", "it is still running"),
        ({"connect": True}, "not-opened", "accepted", "not accepted"),
        ({"connect": "not-opened"}, "opened", "not accepted", "accepted"),
        ({"accept": "not-accepted"}, "accepted", "does not connect", "connects"),
        ({"receive": "05 00"}, "05 timeout", "05 00", "05, then no answer in time"),
        ({"receive": "01 ..", "not": "01 00"}, "01 00", "not 01 00", "01 00"),
        ({"receive": "05 00"}, "eof", "05 00", "the connection was closed"),
        ({"reply": "refused"}, GRANTED, "refuses", "succeeded"),
        ({"reply": [7]}, REFUSED, "07 (command not supported)", "(connection refused)"),
        ({"reply": "any"}, "05 00 eof", "a reply", "05 00, then the connection was closed"),
        ({"reply": "any"}, "00 5a 00 00 00 00 00 00 00 00", "well-formed", "00 5a"),
        ({"reply": "any"}, "05 01 ff 01 00 00 00 00 00 00", "well-formed", "05 01 ff"),
        ({"reply": "any"}, "05 01 00 02 00 00 00 00 00 00", "well-formed", "05 01 00 02"),
        ({"reply": [0x42]}, REFUSED, "42", "05 05"),
        ({"closed": True}, "05 ff eof", "is closed", "05 ff, then"),
        ({"closed": True, "goodbye": True}, f"{GRANTED} eof", "is closed", "05 00"),
        ({"closed": "eof"}, "reset", "is closed", "was reset"),
        ({"closed": True}, "05 ff timeout", "is closed", "05 ff, then it stays open"),
        ({"quiet": 1.0}, "61", "nothing is sent", "61"),
        ({"dial": "granted"}, "refused 05", "granted", "refused 05"),
        ({"dial": "refused"}, "timeout", "by a reply", "no answer"),
        ({"dial": "granted"}, "no port", "granted", "no line announced one"),
        ({"echo": 10}, "octet 3 of 10 comes back changed", "same octets", "octet 3"),
    ],
)
def test_a_step_that_came_out_wrong(
    step: dict[str, Any], outcome: str, expected: str, got: str
) -> None:
    found = step_problem(step, outcome)
    assert found is not None
    assert expected in found.expected
    assert got in found.got


def test_a_transport_that_can_grant_has_to() -> None:
    """Only of one that was seen to grant a request without args is that asked."""
    assert step_problem({"reply": "granted"}, REFUSED, ["grants"]) is not None


# --- what is said ---------------------------------------------------------------------------------


def test_lines_are_looked_for_in_their_order() -> None:
    lines = said("VERSION 1", "CMETHOD foo socks5 127.0.0.1:1", "CMETHODS DONE")
    assert problem({"says": ["VERSION {version}", "CMETHODS DONE"]}, *lines) is None
    found = problem({"says": ["CMETHODS DONE", "VERSION 1"]}, *lines)
    assert found is not None
    assert "behind 'CMETHODS DONE'" in found


def test_a_line_is_looked_for_where_it_belongs() -> None:
    line = said("ENV-ERROR x", stream="stderr")
    assert problem({"says": [{"either": "ENV-ERROR*"}]}, *line) is None
    assert problem({"says": ["ENV-ERROR*"]}, *line) is not None
    assert problem({"says": [{"{stream}": "ENV-ERROR*"}]}, *line) is not None
    values = {**LAUNCH["values"], "stream": "stderr"}  # type: ignore[dict-item]
    assert problem({"says": [{"{stream}": "ENV-ERROR*"}]}, *line, values=values) is None


def test_a_line_that_must_not_be_said() -> None:
    assert problem({"never": ["PROXY*"]}, *said("VERSION 1")) is None
    assert problem({"never": ["PROXY*"]}, *said("PROXY DONE", stream="stderr")) is not None


def test_what_was_found_is_told_in_full() -> None:
    """What it said, on which stream, and how it ended."""
    lines = [*said("VERSION 1"), *said("oh \x1b no", stream="stderr")]
    end = entry("exit", "exit", "exit 1", name="1")
    found = problem({"says": ["CMETHODS DONE"]}, *lines, end)
    assert found is not None
    assert found.endswith("VERSION 1; (stderr) oh \\x1b no; then exit 1 after 1.00 s")
    nothing = problem({"says": ["CMETHODS DONE"]})
    assert nothing is not None
    assert nothing.endswith("no line, and goes on")


def test_long_talk_is_cut_short() -> None:
    found = problem({"says": ["CMETHODS DONE"]}, *said(*(f"L{n}" for n in range(20))))
    assert found is not None
    assert "... (12 more)" in found


def test_what_comes_behind_the_script_does_not_count() -> None:
    """The tester kills the program then."""
    end = Entry(at=2.0, who="tester", channel="script", event=END, text="")
    killed = entry("exit", "signal", "signal SIGKILL", name="9")
    assert problem({"exit": "running"}, end, killed) is None


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "event", "number", "right"),
    [
        ("any", "exit", "0", True),
        ("any", "signal", "11", True),
        ("error", "exit", "1", True),
        ("error", "exit", "0", False),
        ([64], "exit", "64", True),
        ([64, 78], "exit", "1", False),
        ([0], "signal", "15", False),
        ([0], "gone", "", True),
        ("running", "exit", "0", False),
    ],
)
def test_how_it_ended(want: Any, event: str, number: str, right: bool) -> None:
    found = problem({"exit": want}, entry("exit", event, f"{event} {number}", name=number))
    assert (found is None) == right


def test_it_has_not_ended() -> None:
    assert problem({"exit": "running"}) is None
    assert problem({"exit": "any"}) == "the process ends / it goes on"


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("state/pt/key", True),
        ("state/pt", True),
        ("state", True),
        ("home/.cache", False),
        ("cwd/core", False),
        ("state/pt-other", False),
    ],
)
def test_files_outside_of_the_state_directory(path: str, right: bool) -> None:
    found = problem({"files": "state-only"}, entry("file", "made", path, name="0o600"))
    assert (found is None) == right


def test_files_that_everybody_can_write_to() -> None:
    assert problem({"files": "private"}, entry("file", "made", "state/pt/a", name="0o640")) is None
    assert problem({"files": "private"}, entry("file", "made", "state/pt/a", name="0o666"))


def test_addresses_in_files() -> None:
    assert problem({"files": "no-addresses"}) is None
    assert problem({"files": "no-addresses"}, entry("file", "leak", "in state/pt/log"))


# --- connections ----------------------------------------------------------------------------------


def test_connections_are_counted() -> None:
    one = entry("target", "opened", "from 127.0.0.1:7", name="target1")
    assert problem({"connections": {"target": 1}}, one) is None
    assert problem({"connections": {"target": 0, "proxy": 0}}, one) == (
        "0 connections to the target / 1"
    )


def test_a_direct_connection_is_one_past_the_proxy() -> None:
    by_proxy = entry("target", "opened", "from 127.0.0.1:7", name="target1")
    onward = entry("proxy", "onward", "127.0.0.1:7", name="proxy1")
    assert problem({"connections": {"direct": 0}}, onward, by_proxy) is None
    assert problem({"connections": {"direct": 0}}, by_proxy) is not None


def test_what_the_proxy_was_asked() -> None:
    asked = entry("proxy", "asked", json.dumps({"target": "a:1", "user": "u", "password": None}))
    assert problem({"asked": {"user": "u", "password": None}}, asked) is None
    assert problem({"asked": {"user": "v"}}, asked) is not None
    found = problem({"asked": {"user": "v"}})
    assert found is not None
    assert found.endswith("nothing was asked of it")


def told(what: str, value: Any, name: str = "extorport1") -> Entry:
    return entry("extorport", "told", json.dumps([what, value]), name=name)


def test_what_the_extended_port_was_told() -> None:
    entries = [told("type", 1), told("USERADDR", "127.0.0.1:5"), told("DONE", "")]
    assert problem({"told": [["type", 1], ["USERADDR", "{client}"], ["DONE"]]}, *entries) is None
    assert problem({"told": [["DONE"], ["type", 1]]}, *entries) is not None
    assert problem({"told": [["USERADDR", "127.0.0.1:6"]]}, *entries) is not None
    assert problem({"told": [["type", 1]]}) is not None


def test_what_was_told_on_two_connections_is_not_put_together() -> None:
    entries = [told("type", 1), told("DONE", "", "extorport2")]
    assert problem({"told": [["type", 1], ["DONE"]]}, *entries) is not None


def test_what_the_extended_port_was_not_told() -> None:
    assert problem({"not_told": ["early"]}, told("DONE", "")) is None
    assert problem({"not_told": ["early"]}, told("early", "61")) is not None


def test_a_nonce_is_another_one_each_time() -> None:
    assert problem({"fresh": "nonce"}, told("nonce", "aa"), told("nonce", "bb")) is None
    assert problem({"fresh": "nonce"}, told("nonce", "aa"), told("nonce", "aa")) is not None
    assert problem({"fresh": "nonce"}, told("nonce", "aa")) is not None


# --- verdicts -------------------------------------------------------------------------------------


def outcome(text: str, step: int) -> Entry:
    return Entry(at=1.0, who="tester", channel="script", event=OUTCOME, text=text, step=step)


def test_the_first_step_that_fails_is_the_verdict() -> None:
    script = [{"ready": True}, {"exit": True}]
    found = judge(
        case(script, {"exit": [0]}),
        transcript(*said("VERSION 1"), outcome("ready", 0), outcome("timeout", 1)),
    )
    assert found is not None
    assert found.expected == "the process ends"
    assert found.got == "it is still running: VERSION 1; and goes on"


def test_a_verdict_has_what_a_person_needs() -> None:
    played = transcript(
        Entry(at=0.5, who="tester", channel="port", event="sent", text="05 01 00", name="a"),
        outcome("eof", 0),
    )
    verdict = verdict_of(
        case([{"receive": "05 00"}], breaks=["tor"]), "1", played, "ptipc check ..."
    )
    assert verdict.outcome is Outcome.FAILED
    assert verdict.sent == "05 01 00"
    assert verdict.expected == "05 00"
    assert verdict.got == "the connection was closed"
    assert verdict.breaks == ("tor",)
    assert verdict.requirements == ("pt.x",)
    assert verdict.reproduce == "ptipc check ..."


def test_a_program_that_keeps_the_rule_breaks_nobody() -> None:
    verdict = verdict_of(case([{"receive": "05 00"}], breaks=["tor"]), "1", transcript())
    assert verdict.outcome is Outcome.PASSED
    assert verdict.breaks == ()


def test_the_settings_of_a_case_are_part_of_what_was_sent() -> None:
    played = transcript(set={"TOR_PT_PROXY": "x"}, argv=["-mode", "STUN"])
    special = case()
    special.content["input"]["raw"] = {"proxy": "x"}
    assert verdict_of(special, "1", played).sent == "TOR_PT_PROXY=x -mode STUN"


def test_where_nothing_is_special_the_settings_are_what_was_sent() -> None:
    """Somebody who reads the finding does not know what a launch is like."""
    played = transcript(set={"TOR_PT_STATE_LOCATION": "/s"})
    assert verdict_of(case(), "1", played).sent == "TOR_PT_STATE_LOCATION=/s"


def test_what_a_host_was_told_and_heard_is_what_was_sent() -> None:
    told = {"mode": "STUN", "args": [["k", "v"]]}
    about_host = case(input={"told": told, "foreign": True, "pt": [{"say": ["x" * 300]}]})
    assert verdict_of(about_host, "1", transcript(extra={"TOR_PT_ORPORT": "y"})).sent == (
        'mode=STUN args=[["k", "v"]] TOR_PT_ORPORT=y {"say": ["' + "x" * 190 + "..."
    )


def test_it_is_told_on_which_stream_a_line_belongs() -> None:
    found = judge(case([], {"says": ["ENV-ERROR*"]}), transcript(*said("VERSION 1")))
    assert found is not None
    assert found.expected == "'ENV-ERROR*' on stdout"
