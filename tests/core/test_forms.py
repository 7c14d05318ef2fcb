"""Templates: the three kinds of them, both directions, and what cannot be said."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, LogLevel, Protocol
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, Dialect, Stream
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.forms import Form, Message, keyword_of


@frozen
class Note(Message):
    """Something between two programs that know each other."""

    transport: str
    details: str


@frozen
class Greeting(Message):
    """Nothing but a word."""


@frozen
class Method(Message):
    """A method with args."""

    transport: str
    args: Args = NO_ARGS
    options: tuple[tuple[str, str], ...] = ()


@frozen
class Place(Message):
    """A protocol and an address."""

    protocol: Protocol
    address: Address


@frozen
class Entry(Message):
    """An entry of a log."""

    level: LogLevel
    text: str


@frozen
class Pairs(Message):
    """Keys and values."""

    pairs: tuple[tuple[str, str], ...]


NOTE = Form(Note, "STATUS TRANSPORT={transport} {details:rest}", until=PT1)
BARE_NOTE = Form(Note, "NOTE {transport}[ {details:rest}]")
WORDS = Form(Note, "WORDS {transport:verbatim} {details:verbatim}")
METHOD = Form(Method, "METHOD {transport}[ ARGS:{args}][ {options}]")
LISTEN = Form(Place, "LISTEN {protocol} {address}")
ENTRY = Form(Entry, 'ENTRY KIND=log LEVEL={level:severity} TEXT="{text:verbatim}"')
PAIRS = Form(Pairs, "PAIRS {pairs}")


def test_a_row_reads_and_writes() -> None:
    heard = NOTE.parse("STATUS TRANSPORT=obfs4 CONNECT=Success")
    assert heard == Note("obfs4", "CONNECT=Success")
    assert NOTE.emit(heard) == "STATUS TRANSPORT=obfs4 CONNECT=Success"


def test_a_row_has_a_keyword_and_a_meaning() -> None:
    assert (NOTE.keyword, METHOD.keyword) == ("STATUS", "METHOD")
    assert NOTE.meaning == "Something between two programs that know each other."


def test_the_meaning_is_empty_where_docstrings_are_stripped() -> None:
    silent = frozen(type("Silent", (Message,), {}))
    assert Form(silent, "SILENT").meaning == ""


def test_the_stream_follows_from_the_row() -> None:
    error = Form(Greeting, "OOPS", error=True)
    assert [error.stream(dialect) for dialect in (PT1, PT2_2)] == [Stream.STDOUT, Stream.STDERR]
    assert NOTE.stream(PT2_2) is Stream.STDOUT


def test_rows_are_compared_by_what_they_say() -> None:
    assert Form(Note, "STATUS TRANSPORT={transport} {details:rest}", until=PT1) == NOTE
    assert "parts" not in repr(NOTE)


def test_the_keyword_is_what_is_before_the_first_blank() -> None:
    assert [keyword_of(text) for text in ("", " A", "A", "A B", "A\tB")] == ["", "", "A", "A", "A"]


@pytest.mark.parametrize("template", ["NOTE  {transport}", "NOTE{transport}", "NOTE {transport"])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="not a template"):
        Form(Note, template)


def test_a_template_names_known_spellings_only() -> None:
    with pytest.raises(KeyError):
        Form(Note, "NOTE {transport:nonsense}")


# --- the three kinds ------------------------------------------------------------------------------


def test_free_text_is_verbatim() -> None:
    assert NOTE.parse("STATUS TRANSPORT=a  b  c ") == Note("a", " b  c ")


def test_free_text_may_be_missing_where_it_is_optional() -> None:
    assert BARE_NOTE.parse("NOTE a") == Note("a", "")
    assert BARE_NOTE.emit(Note("a", "")) == "NOTE a"


def test_words_may_be_any_number_of_blanks_apart() -> None:
    assert LISTEN.parse("LISTEN \t socks5  [::1]:1 more") == Place(
        Protocol.SOCKS5, Address("::1", 1)
    )


def test_a_word_alone_is_a_line() -> None:
    assert Form(Greeting, "HELLO").parse("HELLO") == Greeting()
    assert Form(Greeting, "HELLO").emit(Greeting()) == "HELLO"


def test_an_optional_word_is_found_anywhere() -> None:
    heard = METHOD.parse("METHOD a X:1 junk ARGS:k=v Y:2")
    assert heard == Method("a", Args([("k", "v")]), (("X", "1"), ("Y", "2")))


def test_keys_come_in_any_order() -> None:
    heard = ENTRY.parse('ENTRY TEXT="a b" OTHER=x LEVEL=info KIND=LOG TEXT=c')
    assert heard == Entry(LogLevel.INFO, "a b")
    assert ENTRY.emit(heard) == 'ENTRY KIND=log LEVEL=info TEXT="a b"'


def test_pairs_are_written_in_their_order() -> None:
    heard = Pairs((("TRANSPORT", "a"), ("Z", "b c"), ("A", "")))
    assert PAIRS.emit(heard) == 'PAIRS TRANSPORT=a Z="b c" A=""'
    assert PAIRS.parse('PAIRS TRANSPORT=a Z="b c" A=""') == heard


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        (NOTE, "NOTE TRANSPORT=a b", "keyword"),
        (NOTE, "STATUS TRANSPORT=a", "no details"),
        (NOTE, "STATUS transport=a b", "no TRANSPORT="),
        (NOTE, "STATUS TRANSPORT=a b\nSTATUS TRANSPORT=a b", "more than one line"),
        (LISTEN, "LISTEN socks5", "no address"),
        (Form(Greeting, "HELLO THERE"), "HELLO", "no THERE"),
        (Form(Greeting, "HELLO THERE"), "HELLO you", "'you' where THERE belongs"),
        (ENTRY, "ENTRY KIND=log LEVEL=info", "no TEXT"),
        (ENTRY, "ENTRY KIND=x LEVEL=info TEXT=y", "KIND=log belongs"),
        (PAIRS, "PAIRS A", "not a list"),
        (PAIRS, "PAIRS TYPE=version", "version"),
    ],
)
def test_a_malformed_line_is_the_peers_fault(form: Form, text: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        form.parse(text)


# --- what cannot be said --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "message", "reason"),
    [
        (NOTE, Note("a b", "x"), "not a transport name"),
        (NOTE, Note("a", ""), "blank at the end"),
        (METHOD, Method("a", Args([("k", "v w")])), "cannot be written"),
        (WORDS, Note("a b", "c"), "another meaning"),
        (WORDS, Note("a\rb", "c"), "printable"),
        (METHOD, Method("a", options=(("X", "1"),)), "no edition"),
        (LISTEN, Place(Protocol.SOCKS5, Address("127.0.0.1", 0)), "port 0"),
        (LISTEN, Place(Protocol.SOCKS4, Address("127.0.0.1", 1)), "not a protocol"),
        (ENTRY, Entry(LogLevel.NONE, "x"), "severity"),
        (PAIRS, Pairs((("A", "b"),)), "TRANSPORT"),
        (PAIRS, Pairs((("TRANSPORT", "b"), ("TYPE", "Version"))), "StatusVersion"),
    ],
)
def test_what_would_be_misheard_is_not_said(form: Form, message: Message, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        form.emit(message)


def test_a_line_that_could_not_be_read_again_is_not_said() -> None:
    form = Form(Note, "NOTE TRANSPORT={details:verbatim} X={transport:verbatim}")
    with pytest.raises(LocalProtocolError, match="not a list"):
        form.emit(Note("a", '"'))


def test_a_secret_does_not_show_in_the_error() -> None:
    with pytest.raises(LocalProtocolError) as raised:
        METHOD.emit(Method("a", Args([("k", "secret thing")])))
    assert "secret" not in str(raised.value)


def test_the_spelling_may_depend_on_the_edition() -> None:
    """Semicolons separate args in PT 2.0's own examples, and nowhere else (C30)."""
    text = "METHOD a ARGS:k=v;l=w"
    assert METHOD.parse(text, PT1) == Method("a", Args([("k", "v;l=w")]))
    assert METHOD.parse(text, PT2_0) == Method("a", Args([("k", "v"), ("l", "w")]))
    assert LISTEN.emit(Place(Protocol.SOCKS4, Address("::1", 1)), PT1) == ("LISTEN socks4 [::1]:1")


# --- properties -----------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name.lower() != "bridge"
)


@given(NAMES, st.text())
def test_free_text_is_one_line_whatever_is_in_it(name: str, text: str) -> None:
    line = BARE_NOTE.emit(Note(name, text))
    assert line.isprintable()
    assert line.isascii()
    assert BARE_NOTE.emit(BARE_NOTE.parse(line)) == line


@given(NAMES, st.lists(st.tuples(st.text(), st.text()), max_size=3), st.sampled_from(DIALECTS))
def test_args_are_heard_as_they_were_meant_or_not_said(
    name: str, pairs: list[tuple[str, str]], dialect: Dialect
) -> None:
    message = Method(name, Args(pairs))
    try:
        line = METHOD.emit(message, dialect)
    except LocalProtocolError:
        return
    assert METHOD.parse(line, dialect) == message


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for form in (NOTE, BARE_NOTE, METHOD, LISTEN, ENTRY, PAIRS):
        for line in (text, f"{form.keyword} {text}"):
            try:
                form.parse(line)
            except RemoteProtocolError:
                continue
