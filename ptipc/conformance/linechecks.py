"""What can be wrong with the lines that a transport process says, one property each.

Every property is a pure function of the lines; the cases name them (``"lines": ["ordered"]``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from ptipc.core.codecs import Protocol
from ptipc.core.conversation import Conversation, OutOfOrder
from ptipc.core.dialects import Dialect, Role
from ptipc.core.errors import PtipcError
from ptipc.core.forms import keyword_of
from ptipc.core.messages import (
    FORMS,
    CMethod,
    CMethodError,
    CMethodsDone,
    Log,
    Message,
    SMethod,
    SMethodError,
    SMethodsDone,
    Status,
    StatusVersion,
    Unknown,
    emit_line,
    parse_line,
)

__all__ = ["LINES", "Heard", "Problem", "Said"]

KEYWORDS = frozenset(form.keyword for form in FORMS)
_ERRORS = frozenset(form.keyword for form in FORMS if form.error)
_DIVERSE = (Log, Status, StatusVersion)
"""Lines of which the documents allow more than one spelling."""


@frozen
class Problem:
    """What ought to have been, and what was."""

    expected: str
    got: str


@frozen
class Said:
    """A line as it was written."""

    stream: str
    text: str
    whole: bool = True
    """Whether its LF was written, too."""

    @property
    def keyword(self) -> str:
        """What is before the first blank."""
        return keyword_of(self.text)


@frozen(kw_only=True)
class Heard:
    """All lines of a process, and what it had been asked for."""

    said: Sequence[Said]
    dialect: Dialect
    role: Role
    transports: tuple[str, ...]
    proxy: bool

    messages: Sequence[tuple[Said, Message]] = field(init=False)
    """The lines of the protocol that can be understood, errors on standard error among them."""

    @messages.default
    def _understand(self) -> Sequence[tuple[Said, Message]]:
        return [(said, message) for said in self.lines if (message := self.parse(said))]

    @property
    def lines(self) -> Iterator[Said]:
        """The lines of the protocol; what else stands on standard error is for people."""
        diverse = {"LOG", "STATUS"} if not self.dialect.log_threshold else {"LOG"}
        for said in self.said:
            if said.whole and (
                said.stream == "stdout" or said.keyword in _ERRORS or said.keyword in diverse
            ):
                yield said

    def parse(self, said: Said) -> Message | None:
        """What a line means; None if it cannot be understood."""
        try:
            return parse_line(said.text.removesuffix("\r"), self.dialect)
        except PtipcError:
            return None

    def methods(self) -> Iterator[tuple[Said, CMethod | SMethod]]:
        """The lines about transports that are up."""
        for said, message in self.messages:
            if isinstance(message, CMethod | SMethod):
                yield said, message

    def of(self, keyword: str) -> Iterator[Said]:
        """The lines with a keyword."""
        return (said for said in self.lines if said.keyword == keyword)


Check = Callable[[Heard], "Problem | None"]


def _first(found: Iterator[Said], expected: str) -> Problem | None:
    said = next(found, None)
    return None if said is None else Problem(expected, f"{said.text!r} on {said.stream}")


# --- all lines ------------------------------------------------------------------------------------


def ordered(heard: Heard) -> Problem | None:
    """The lines come in the order of the protocol."""
    conversation = Conversation(role=heard.role, proxy=heard.proxy)
    for said, message in heard.messages:
        try:
            conversation.say(message)
        except OutOfOrder as error:
            return Problem("lines in the order of the protocol", f"{said.text!r}: {error}")
    return None


def well_formed(heard: Heard) -> Problem | None:
    """Every line with a known keyword can be read in the edition."""
    for said in heard.lines:
        try:
            parse_line(said.text.removesuffix("\r"), heard.dialect, heard.role)
        except PtipcError as error:
            return Problem("lines that can be read", f"{said.text!r}: {error}")
    return None


def canonical(heard: Heard) -> Problem | None:
    """Every line is written as the documents write it: single blanks, no more words."""
    for said, message in heard.messages:
        if isinstance(message, (*_DIVERSE, Unknown, CMethodError, SMethodError)):
            continue
        text = said.text.removesuffix("\r")
        try:
            right = emit_line(message, heard.dialect)
        except PtipcError:
            continue  # we would not say that at all, but not because of how it is written
        if isinstance(message, SMethod):  # its args are a matter of their own
            right, text = (line.partition(" ARGS:")[0] for line in (right, text))
        if right != text:
            return Problem(repr(right), repr(said.text))
    return None


def single_blanks(heard: Heard) -> Problem | None:
    """One blank between words, none at the ends."""
    for said in heard.lines:
        text = said.text.removesuffix("\r")
        free = keyword_of(text) in {"LOG", "STATUS"} | _ERRORS
        if text != text.strip(" \t") or (not free and ("  " in text or "\t" in text)):
            return Problem("one blank between words, none at the ends", repr(text))
    return None


def terminated(heard: Heard) -> Problem | None:
    """Every line on standard output ends with LF."""
    left = (said for said in heard.said if not said.whole and said.stream == "stdout")
    return _first(left, "LF behind every line")


def no_cr(heard: Heard) -> Problem | None:
    """Lines end with LF alone."""
    return _first((said for said in heard.lines if "\r" in said.text), "LF alone as line end")


def ascii_only(heard: Heard) -> Problem | None:
    """US-ASCII without NUL; text of LOG lines may be UTF-8 where the edition says so."""
    for said in heard.lines:
        free = heard.dialect.log_threshold and said.keyword == "LOG"
        bad = "\0" in said.text or (not free and not said.text.isascii())
        if bad or any("\udc80" <= char <= "\udcff" for char in said.text):
            return Problem("UTF-8" if free else "US-ASCII", ascii(said.text))
    return None


def known(heard: Heard) -> Problem | None:
    """Nothing stands on standard output but lines of the protocol."""
    strangers = (
        said for said in heard.said if said.stream == "stdout" and said.keyword not in KEYWORDS
    )
    return _first(strangers, "only lines of the protocol on standard output")


def no_lookalikes(heard: Heard) -> Problem | None:
    """No unknown keyword begins like a known one."""
    return _first(
        (
            said
            for said in heard.said
            if said.stream == "stdout"
            and said.keyword not in KEYWORDS
            and any(said.keyword.startswith(each) for each in KEYWORDS)
        ),
        "no keyword that begins like one of the protocol",
    )


def once_done(heard: Heard) -> Problem | None:
    """DONE is said once, and only LOG and STATUS come behind it."""
    done = ""
    for said, message in heard.messages:
        if done and not isinstance(message, (*_DIVERSE, Unknown)):
            return Problem(f"nothing but LOG and STATUS behind {done!r}", repr(said.text))
        if isinstance(message, CMethodsDone | SMethodsDone):
            done = said.text
    return None


# --- transports -----------------------------------------------------------------------------------


def method_once(heard: Heard) -> Problem | None:
    """No transport is spoken of twice."""
    spoken = Counter(
        message.transport
        for _, message in heard.messages
        if isinstance(message, CMethod | SMethod | CMethodError | SMethodError)
    )
    for name, times in spoken.items():
        if times > 1:
            return Problem(f"one line about {name}", f"{times} lines")
    return None


def method_asked(heard: Heard) -> Problem | None:
    """Nothing is said about a transport that was not asked for."""
    for said, message in heard.messages:
        if (
            isinstance(message, CMethod | SMethod | CMethodError | SMethodError)
            and message.transport not in heard.transports
        ):
            return Problem(f"lines about {', '.join(heard.transports)} only", repr(said.text))
    return None


def method_answered(heard: Heard) -> Problem | None:
    """Every transport that was asked for, and is known, has a line."""
    spoken = {
        message.transport
        for _, message in heard.messages
        if isinstance(message, CMethod | SMethod | CMethodError | SMethodError)
    }
    missing = [name for name in heard.transports if name not in spoken]
    return Problem(f"a line about {missing[0]}", "none") if missing else None


def method_address(heard: Heard) -> Problem | None:
    """Addresses are IP addresses, version 6 in brackets, with a port that is not 0."""
    for said in heard.lines:
        if said.keyword not in ("CMETHOD", "SMETHOD"):
            continue
        message = heard.parse(said)
        if isinstance(message, CMethod | SMethod):
            address = message.address
            if address.ip is not None and address.port and str(address) in said.text:
                continue
        return Problem("an IP address and a port that is not 0", repr(said.text))
    return None


def method_loopback(heard: Heard) -> Problem | None:
    """Clients listen on this machine only."""
    for said, method in heard.methods():
        if isinstance(method, CMethod) and not method.address.is_loopback:
            return Problem("an address that only this machine can reach", repr(said.text))
    return None


def method_protocol(heard: Heard) -> Problem | None:
    """The protocol of a port is one of the edition's."""
    for said in heard.of("CMETHOD"):
        words = said.text.split()
        if len(words) < 3 or words[2] not in heard.dialect.protocols:
            return Problem(f"one of {', '.join(heard.dialect.protocols)}", repr(said.text))
    return None


def method_socks5(heard: Heard) -> Problem | None:
    """The protocol is SOCKS5."""
    for said, method in heard.methods():
        if isinstance(method, CMethod) and method.protocol is not Protocol.SOCKS5:
            return Problem("socks5", repr(said.text))
    return None


_PAIR = r"(?:[^\\=,]|\\.)+=(?:[^\\=,]|\\.)*"
_ARGS = re.compile(rf"{_PAIR}(?:,{_PAIR})*")


def args_escaped(heard: Heard) -> Problem | None:
    """ARGS are pairs with commas between, and a backslash before each other "=" and ","."""
    for said in heard.of("SMETHOD"):
        for word in said.text.split()[3:]:
            args = word.removeprefix("ARGS:")
            if args != word and args and not _ARGS.fullmatch(args):
                return Problem("ARGS:key=value,key=value with escapes", repr(said.text))
    return None


def args_some(heard: Heard) -> Problem | None:
    """ARGS: has at least one pair."""
    for said in heard.of("SMETHOD"):
        if "ARGS:" in said.text.split()[3:]:
            return Problem("no ARGS: without a pair", repr(said.text))
    return None


# --- LOG and STATUS -------------------------------------------------------------------------------

_LOG_1 = re.compile(
    r"(?=.*\bSEVERITY=)(?=.*\bMESSAGE=)LOG(?: +[A-Z]+=(?:\"(?:[^\"\\]|\\.)*\"|[^\" ]*))+"
)
_SEVERITY = re.compile(r" SEVERITY=\"?([^\" ]*)")
_LOG_2_2 = re.compile(r"LOG (?:ERROR|WARN|INFO|DEBUG) .+")
_PORTABLE_LOG = re.compile(r'LOG SEVERITY=[a-z]+ MESSAGE="(?:[^"\\]|\\[nrt"\\])*"')


def log_format(heard: Heard) -> Problem | None:
    """LOG lines have the form of the edition."""
    form = _LOG_2_2 if heard.dialect.log_threshold else _LOG_1
    words = "LOG LEVEL text" if form is _LOG_2_2 else "LOG SEVERITY=level MESSAGE=text"
    return _first((said for said in heard.of("LOG") if not form.fullmatch(said.text)), words)


def log_severity(heard: Heard) -> Problem | None:
    """The severity of a LOG line is one of five words in lower case."""
    levels = {"error", "warning", "notice", "info", "debug"}
    wrong = (
        said
        for said in heard.of("LOG")
        if (found := _SEVERITY.search(said.text)) and found[1] not in levels
    )
    return _first(wrong, "error, warning, notice, info or debug")


def log_portable(heard: Heard) -> Problem | None:
    """LOG lines are written so that every known host can read them."""
    return _first(
        (said for said in heard.of("LOG") if not _PORTABLE_LOG.fullmatch(said.text)),
        'LOG SEVERITY=level MESSAGE="text", with no escapes but \\\\ \\" \\n \\r \\t',
    )


def no_log(heard: Heard) -> Problem | None:
    """There is no LOG line."""
    return _first(heard.of("LOG"), "no LOG line")


def no_status(heard: Heard) -> Problem | None:
    """There is no STATUS line."""
    strays = (said for said in heard.said if said.keyword == "STATUS")
    return _first(strays, "no STATUS line")


def log_errors_only(heard: Heard) -> Problem | None:
    """No LOG line is below the level that was asked for."""
    low = (said for said in heard.of("LOG") if said.text.split()[1:2] != ["ERROR"])
    return _first(low, "LOG ERROR lines only")


def status_pairs(heard: Heard) -> Problem | None:
    """STATUS lines are KEY=VALUE pairs, with one besides TRANSPORT."""
    for said in heard.of("STATUS"):
        message = heard.parse(said)
        pairs = 3 if isinstance(message, StatusVersion) else 0
        if isinstance(message, Status):
            pairs = sum(key != "TRANSPORT" for key, _ in message.pairs)
        if not pairs:
            return Problem("STATUS KEY=VALUE with a key besides TRANSPORT", repr(said.text))
    return None


def status_transport_first(heard: Heard) -> Problem | None:
    """STATUS lines begin with TRANSPORT, but for those that tell a version."""
    for said, message in heard.messages:
        if isinstance(message, Status) and message.pairs[:1] and message.pairs[0][0] != "TRANSPORT":
            return Problem("STATUS TRANSPORT=name KEY=VALUE", repr(said.text))
    return None


def status_version_early(heard: Heard) -> Problem | None:
    """The version is told between VERSION and DONE."""
    phase = "before VERSION"
    for said, message in heard.messages:
        if isinstance(message, StatusVersion) and phase:
            return Problem("the version between VERSION and DONE", f"{said.text!r} {phase}")
        if said.keyword == "VERSION":
            phase = ""
        elif isinstance(message, CMethodsDone | SMethodsDone):
            phase = "behind DONE"
    return None


LINES: Mapping[str, Check] = {
    "ordered": ordered,
    "well-formed": well_formed,
    "canonical": canonical,
    "single-blanks": single_blanks,
    "terminated": terminated,
    "no-cr": no_cr,
    "ascii": ascii_only,
    "known": known,
    "no-lookalikes": no_lookalikes,
    "once-done": once_done,
    "method-once": method_once,
    "method-asked": method_asked,
    "method-answered": method_answered,
    "method-address": method_address,
    "method-loopback": method_loopback,
    "method-protocol": method_protocol,
    "method-socks5": method_socks5,
    "args-escaped": args_escaped,
    "args-some": args_some,
    "log-format": log_format,
    "log-severity": log_severity,
    "log-portable": log_portable,
    "log-errors-only": log_errors_only,
    "no-log": no_log,
    "no-status": no_status,
    "status-pairs": status_pairs,
    "status-transport-first": status_transport_first,
    "status-version-early": status_version_early,
}
"""The properties by their names in the cases."""
