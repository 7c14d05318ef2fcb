"""Exchanges of bytes, turned into scripts that can be played at the port of a client."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ptipc.conformance.cases import Case, load
from ptipc.conformance.live import live_cases, reason_against

WIRE = {case.id: case for case in load(["wire"])}
LIVE = {case.id: case for case in live_cases(list(WIRE.values()))}


def script(id: str) -> list[dict[str, Any]]:
    return list(LIVE[id].content["script"])


def test_a_grant_is_asked_of_our_target() -> None:
    assert script("socks5.responder.ipv4") == [
        {"ready": True},
        {"connect": True},
        {"send": "05 01 00"},
        {"receive": "05 00"},
        {"send": ["05 01 00", {"address": "target", "form": "ipv4"}]},
        {"reply": "granted"},
    ]


def test_a_refusal_is_brought_about_by_a_closed_port() -> None:
    steps = script("socks5.responder.refuse.connection-refused")
    assert steps[4:] == [
        {"send": ["05 01 00", {"address": "closed", "form": "ipv4"}]},
        {"reply": "refused"},
        {"closed": True},
    ]
    assert "dials" in LIVE["socks5.responder.refuse.connection-refused"].content["needs"]


@pytest.mark.parametrize(
    ("id", "form"),
    [
        ("socks5.responder.ipv6", "ipv6"),
        ("socks5.responder.name", "name"),
        ("socks4.responder.args", "socks4"),
    ],
)
def test_the_target_has_the_form_that_the_case_has(id: str, form: str) -> None:
    sent = next(step["send"] for step in script(id) if isinstance(step.get("send"), list))
    assert {"address": "target", "form": form} in sent


def test_what_comes_behind_the_address_is_kept() -> None:
    """Data that a client sends early, for example."""
    sent = script("socks5.responder.early-data")[4]["send"]
    assert sent[-1] == "16 03 01"


def test_a_target_that_we_cannot_be_may_be_refused() -> None:
    assert {"reply": "any"} in script("socks5.responder.name-255")


def test_which_code_says_that_a_request_is_malformed_is_open() -> None:
    """No document says so; but what a code is made for has it."""
    assert {"reply": "refused", "or_closed": True} in script("socks5.responder.request-version")
    assert {"reply": [7]} in script("socks5.responder.command-bind")
    assert {"reply": [8]} in script("socks5.responder.address-type-02")


def test_any_status_but_0_refuses_args() -> None:
    assert {"receive": "01 ..", "not": "01 00"} in script("socks-args.responder.bad.no-key")


def test_the_end_of_the_input_may_be_answered() -> None:
    assert script("socks5.responder.eof.request")[-2:] == [
        {"eof": True},
        {"closed": True, "goodbye": True},
    ]


def test_time_that_runs_out_is_waited_for() -> None:
    assert script("socks5.responder.timeout.greeting")[-1] == {
        "closed": True,
        "within": 40,
        "goodbye": True,
    }


def test_whoever_is_stricter_than_acceptable_is_still_right() -> None:
    acceptable = [case for case in LIVE.values() if case.result == "acceptable"]
    assert {case.level for case in acceptable} == {"INTEROP"}


def test_short_good_cases_are_played_octet_by_octet_as_well() -> None:
    split = LIVE["socks5.responder.ipv4.split"]
    assert all(step["pieces"] == 1 for step in split.content["script"] if "send" in step)
    assert "socks5.responder.methods-255.split" not in LIVE


@pytest.mark.parametrize(
    "id",
    [
        "socks5.initiator.early-data",
        "extorport.initiator.ordinary",
        "socks5.responder.credentials",
        "socks5.responder.bound-ipv4",
        "socks5.responder.refuse.ttl-expired",
        "socks5.responder.timeout.decision",
        "socks-args.responder.json.over-limit",
    ],
)
def test_what_is_not_played_live_has_a_reason(id: str) -> None:
    assert reason_against(WIRE[id])
    assert id not in LIVE


def test_every_other_exchange_of_a_responder_is_played() -> None:
    ours = [case for case in WIRE.values() if case.op == "socks/responder"]
    reasons = Counter(reason_against(case) for case in ours)
    assert reasons[None] > 120
    assert sum(reasons.values()) - reasons[None] < 40


def test_names_are_the_business_of_those_who_use_them() -> None:
    assert "dials" in LIVE["socks5.responder.name-nul"].content["needs"]


def test_the_versions_and_the_machine_are_needed() -> None:
    assert "socks4" in LIVE["socks4.responder.no-args"].content["needs"]
    assert "ipv6" in LIVE["socks5.responder.ipv6"].content["needs"]


def test_the_host_that_a_case_comes_from_is_named() -> None:
    assert LIVE["socks-args.responder.tor.one"].content["breaks"] == ["tor"]


def test_a_target_that_does_not_stand_in_the_request_is_left_alone() -> None:
    """Somebody may write such a case."""
    odd = Case(
        id="socks5.responder.odd",
        title="",
        level="MUST",
        requirements=(),
        contradictions=(),
        dialects=("1",),
        section="",
        rule="",
        result="valid",
        op="socks/responder",
        fixture="wire/socks5",
        content={
            "input": {},
            "script": [
                {"receive": "05 01 00"},
                {"decide": {"grant": None}},
                {"send": "05 00 00 01 00 00 00 00 00 00"},
            ],
            "output": {"done": True, "target": "192.0.2.7:443", "version": 5},
        },
    )
    (whole, _) = live_cases([odd])
    assert whole.content["script"][-1] == {"reply": "any"}
