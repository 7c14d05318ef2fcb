"""What a transport process says: whole lines, from any thread, early, late and in distress."""

from __future__ import annotations

import threading

import pytest

from ptipc.core.codecs import LogLevel
from ptipc.core.dialects import PT1, PT2_2, Stream
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.launch import launch_config
from ptipc.core.messages import CMethodsDone, EnvError, Log, Version
from ptipc.core.session import TransportSession
from ptipc.voice import EARLY, Voice


class Heard:
    """An outlet that keeps what it is given, as long as somebody reads."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.reading = True

    def __call__(self, stream: Stream, data: bytes) -> bool:
        if self.reading:
            lines = self.lines if stream is Stream.STDOUT else self.errors
            lines.append(data.decode().rstrip("\n"))
        return self.reading


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def voice(heard: Heard) -> Voice:
    return Voice(TransportSession(launch_config(client=["one"])), heard)


def log(text: str) -> Log:
    return Log(LogLevel.INFO, text)


def logged(heard: Heard) -> list[str]:
    return [line.split('"')[1] for line in heard.lines if line.startswith("LOG ")]


def test_what_is_logged_before_the_version_comes_behind_it(voice: Voice, heard: Heard) -> None:
    """As much of it as is kept."""
    for number in range(EARLY + 5):
        voice.log(log(str(number)))
    assert heard.lines == []
    voice.say(Version("1"))
    assert heard.lines[0] == "VERSION 1"
    assert logged(heard) == [str(number) for number in range(5, EARLY + 5)]


def test_lines_that_were_lost_are_counted(voice: Voice, heard: Heard) -> None:
    voice.say(Version("1"))
    heard.reading = False
    for _ in range(3):
        voice.log(log("lost"))
    heard.reading = True
    voice.log(log("kept"))
    voice.log(log("also"))
    assert logged(heard) == ["3 lines were lost, for nobody read them", "kept", "also"]


def test_what_cannot_be_said_now_is_the_callers_mistake(voice: Voice) -> None:
    voice.say(Version("1"))
    with pytest.raises(LocalProtocolError):
        voice.say(Version("1"))
    voice.say(CMethodsDone())


def test_an_outlet_that_logs_is_no_endless_circle(heard: Heard) -> None:
    def outlet(stream: Stream, data: bytes) -> None:
        heard(stream, data)
        speaker.log(log("about that"))

    speaker = Voice(TransportSession(launch_config(client=["one"])), outlet)
    speaker.say(Version("1"))
    speaker.log(log("by the way"))
    assert logged(heard) == ["by the way"]


def test_lines_of_many_threads_stay_whole(voice: Voice, heard: Heard) -> None:
    voice.say(Version("1"))

    def talk() -> None:
        for number in range(100):
            voice.log(log(f"line {number}"))

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(logged(heard)) == sorted(
        f"line {number}" for number in range(100) for _ in "abcd"
    )


def test_what_is_wrong_with_the_configuration_goes_where_the_host_reads() -> None:
    for dialect, place in ((PT1, "lines"), (PT2_2, "errors")):
        heard = Heard()
        error = ConfigError(EnvError("no transport"), "no transport", dialect)
        session = TransportSession.for_error(error)
        Voice(session, heard).fail(error)
        assert getattr(heard, place) == ["ENV-ERROR no transport"]
        assert session.exit_code


def test_a_fault_of_our_own_is_said_as_long_as_it_is_not_too_late(
    voice: Voice, heard: Heard
) -> None:
    voice.say(Version("1"))
    voice.give_up(ValueError("a mistake"))
    voice.give_up(ValueError("another"))  # one is enough
    assert heard.lines[1:] == ["ENV-ERROR the transport process failed: a mistake"]
    assert voice.session.exit_code


def test_a_fault_of_our_own_after_done_is_only_an_exit_status(voice: Voice, heard: Heard) -> None:
    voice.say(Version("1"))
    voice.say(CMethodsDone())
    voice.give_up(ValueError("a mistake"))
    assert len(heard.lines) == 2
    assert voice.session.exit_code == 70
