"""Single values and their spelling; the examples are in spec-fixtures/codec."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ptipc.core import choices, codecs
from ptipc.core.codecs import (
    ADDRESS,
    BIND_ADDRESSES,
    HOST,
    IP,
    IPV4,
    IPV6,
    LISTENER,
    LOCAL_ADDRESS,
    NAME,
    OFFERED,
    PATH,
    PORT,
    PRINTABLE,
    PROXY,
    TARGET,
    TEXT,
    TOKEN,
    UTF8_TEXT,
    WANTED,
    Address,
    Codec,
    UpstreamProxy,
    shortened,
    visible,
)
from ptipc.testing import strategies as some

EVERY: dict[str, tuple[Codec[Any], SearchStrategy[Any]]] = {
    "ADDRESS": (ADDRESS, some.addresses()),
    "BIND_ADDRESSES": (BIND_ADDRESSES, some.bind_addresses()),
    "HOST": (HOST, some.ipv4() | some.ipv6() | some.host_names()),
    "IP": (IP, some.ipv4() | some.ipv6()),
    "IPV4": (IPV4, some.ipv4()),
    "IPV6": (IPV6, some.ipv6()),
    "LISTENER": (LISTENER, some.listeners()),
    "LOCAL_ADDRESS": (LOCAL_ADDRESS, some.local_addresses()),
    "NAME": (NAME, some.names()),
    "OFFERED": (OFFERED, some.version_lists()),
    "PATH": (PATH, some.paths()),
    "PORT": (PORT, some.ports()),
    "PRINTABLE": (PRINTABLE, some.words()),
    "PROXY": (PROXY, some.proxies()),
    "TARGET": (TARGET, some.targets()),
    "TEXT": (TEXT, some.texts()),
    "TOKEN": (TOKEN, some.tokens()),
    "UTF8_TEXT": (UTF8_TEXT, some.utf8_texts()),
    "WANTED": (WANTED, some.transport_lists()),
}
BEYOND_ASCII = {"PATH", "UTF8_TEXT"}

each = pytest.mark.parametrize("name", EVERY)


# --- every codec ----------------------------------------------------------------------------------


def test_every_codec_is_tested() -> None:
    there = {name for name in codecs.__all__ if isinstance(getattr(codecs, name), Codec)}
    assert there - set(choices.__all__) - set(EVERY) == set()


@each
@given(data=st.data())
def test_what_is_written_is_one_line_and_read_as_the_same(name: str, data: st.DataObject) -> None:
    """No line end and no NUL, and ASCII but where an edition wants UTF-8."""
    codec, values = EVERY[name]
    value = data.draw(values)
    text = codec.emit(value)
    assert codec.parse(text) == value
    assert text.isascii() or name in BEYOND_ASCII
    assert text == "" or text.isprintable() or name == "PATH"


def spell(codec: Codec[Any], text: str) -> str | None:
    """How what a text means is written; None if it means nothing or cannot be written."""
    try:
        return codec.emit(codec.parse(text))
    except ValueError:
        return None


@each
@given(data=st.data())
def test_any_text_is_read_or_is_a_value_error(name: str, data: st.DataObject) -> None:
    """And what was read is written in such a way that it is read again, or not written at all."""
    codec, values = EVERY[name]
    text = spell(codec, data.draw(some.anything() | some.damaged(values.map(codec.emit))))
    if text is not None:
        assert spell(codec, text) == text


@pytest.mark.parametrize("char", ["a", "1", ".", ":", ",", "@", "%", "-", "[", " ", "\0", "\ud800"])
@each
def test_a_long_text_is_read_or_refused(name: str, char: str) -> None:
    """It would take very long if the time grew with the square of the length."""
    codec, _ = EVERY[name]
    assert spell(codec, char * (1 << 18)) is not None or name not in {"TEXT", "UTF8_TEXT"}


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ascii", "utf8"),
    [
        ("plain text", "plain text", "plain text"),
        ("two\nlines\r", "two\\nlines\\r", "two\\nlines\\r"),
        ("\x1b[31m\0\x7f", "\\x1b[31m\\x00\\x7f", "\\x1b[31m\\x00\\x7f"),
        ("café", "caf\\xe9", "café"),
        ("\u4f60\U0001f511", "\\u4f60\\U0001f511", "\u4f60\U0001f511"),
        ("a\u2028b\xa0c", "a\\u2028b\\xa0c", "a\\u2028b\\xa0c"),
        ("\udcff", "\\udcff", "\\udcff"),
    ],
)
def test_what_cannot_be_seen_becomes_visible(text: str, ascii: str, utf8: str) -> None:
    assert visible(text) == ascii
    assert visible(text, "utf-8") == utf8


def test_what_is_long_is_shortened_and_says_so() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd" * 1_000, 3) == "abc... (3,997 more characters)"


@given(st.text())
def test_any_text_becomes_one_line(text: str) -> None:
    assert visible(text).isascii()
    assert TEXT.emit(text) == "" or TEXT.emit(text).isprintable()
    assert UTF8_TEXT.emit(text).encode("utf-8").decode("utf-8").isprintable()


def test_text_is_written_without_blanks_at_the_end() -> None:
    """C17: no line ends in a space."""
    assert TEXT.emit("no cows available \n") == "no cows available \\n"
    assert TEXT.emit("no cows available  ") == "no cows available"


def test_text_is_read_as_it_stands() -> None:
    assert TEXT.parse("  a\tb ") == "  a\tb "


@pytest.mark.parametrize("word", ["", "a b", "a\nb", "é", "\t", "\x7f"])
def test_a_word_is_printable_ascii(word: str) -> None:
    with pytest.raises(ValueError, match="not a word of printable ASCII"):
        PRINTABLE.emit(word)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_is_not_empty_and_has_no_nul(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        PATH.parse(path)


# --- names and versions ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bridge", "Bridge", "BRIDGE"])
def test_a_transport_called_bridge_is_read_and_not_written(name: str) -> None:
    """C68: arti refuses it."""
    assert NAME.parse(name) == name
    with pytest.raises(ValueError, match="arti refuses that name"):
        NAME.emit(name)


def test_a_version_may_have_spaces_behind_it() -> None:
    """C17: "VERSION 1 " is read by arti, and is not written."""
    assert TOKEN.parse("1  ") == "1"
    with pytest.raises(ValueError, match="not a version"):
        TOKEN.emit("1 ")


def test_what_is_no_name_can_be_wanted_and_is_not_written() -> None:
    """C69: a star, or any other word that names no transport."""
    assert WANTED.parse("*,obfs4, meek,9a") == ("*", "obfs4", " meek", "9a")
    for words in (("*",), (" meek",), ("9a",)):
        with pytest.raises(ValueError, match="not a transport name"):
            WANTED.emit(words)


def test_what_is_no_version_can_be_offered_and_is_not_written() -> None:
    """C3: nothing is trimmed, and to goptlib " 1" is just a version that it does not know."""
    assert OFFERED.parse("2, 1") == ("2", " 1")
    with pytest.raises(ValueError, match="not a version"):
        OFFERED.emit(("2", " 1"))


# --- addresses ------------------------------------------------------------------------------------


def test_an_address_is_a_value() -> None:
    address = Address("::1", 80)
    with pytest.raises(FrozenInstanceError):
        address.port = 81  # type: ignore[misc]
    assert {address: "x"}[evolve(address)] == "x"
    assert pickle.loads(pickle.dumps(address)) == copy.copy(address) == address


def test_an_address_shows_itself_as_it_is_written() -> None:
    assert str(Address("192.0.2.7", 80)) == "192.0.2.7:80"
    assert str(Address("2001:db8::7", 80)) == "[2001:db8::7]:80"
    assert str(Address("example.com", 80)) == "example.com:80"


@pytest.mark.parametrize(
    ("host", "is_ip", "is_loopback"),
    [
        ("127.0.0.1", True, True),
        ("127.255.0.9", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("::ffff:192.0.2.7", True, False),
        ("192.0.2.7", True, False),
        ("0.0.0.0", True, False),
        ("::", True, False),
        ("localhost", False, False),
    ],
)
def test_an_address_knows_where_it_is(host: str, is_ip: bool, is_loopback: bool) -> None:
    address = Address(host, 80)
    assert (address.ip is not None) == is_ip
    assert address.is_loopback == is_loopback


def test_the_rule_is_named_together_with_the_whole_address() -> None:
    with pytest.raises(ValueError, match=r"not a port \(0 to 65535\): '' in '192\.0\.2\.7:'"):
        ADDRESS.parse("192.0.2.7:")


@pytest.mark.parametrize(
    "address",
    [
        Address("[::1]", 80),
        Address("127.0.0.1:80", 80),
        Address("", 80),
        Address("::1]:80\nVERSION 1 [::1", 80),
        Address("fe80::1%eth0", 80),
        Address("192.0.2.7", -1),
        Address("192.0.2.7", 65536),
    ],
    ids=str,
)
@pytest.mark.parametrize("codec", [ADDRESS, LISTENER, LOCAL_ADDRESS, TARGET])
def test_what_is_no_address_is_not_written(codec: Codec[Address], address: Address) -> None:
    with pytest.raises(ValueError, match=r"not an? (IP )?address|not a port|not an IPv6|a scope"):
        codec.emit(address)


@pytest.mark.parametrize("codec", [LISTENER, LOCAL_ADDRESS])
def test_nobody_can_connect_to_port_0(codec: Codec[Address]) -> None:
    for address in (Address("127.0.0.1", 0), Address("::1", 0)):
        with pytest.raises(ValueError, match="port 0 cannot be connected to"):
            codec.parse(str(address))
        with pytest.raises(ValueError, match="port 0 cannot be connected to"):
            codec.emit(address)


@pytest.mark.parametrize("host", ["192.0.2.7", "0.0.0.0", "2001:db8::7", "::ffff:127.0.0.1"])
def test_only_what_arti_takes_for_loopback_is_written_as_local(host: str) -> None:
    """C28: arti refuses all else, but tor does not, so that it is read."""
    assert LOCAL_ADDRESS.parse(str(Address(host, 80))) == Address(host, 80)
    with pytest.raises(ValueError, match="not on loopback"):
        LOCAL_ADDRESS.emit(Address(host, 80))


def test_an_address_without_brackets_and_port_may_be_taken_for_one_with_a_port() -> None:
    """C28: nothing tells them apart; goptlib does the same."""
    assert ADDRESS.parse("2001:db8::1:2") == Address("2001:db8::1", 2)
    with pytest.raises(ValueError, match="not an IP address: '2001:db8:'"):
        ADDRESS.parse("2001:db8::1")


def test_an_outbound_address_is_of_its_own_kind() -> None:
    with pytest.raises(ValueError, match="not an IPv4 address"):
        IPV4.parse("2001:db8::7")
    with pytest.raises(ValueError, match="not an IPv6 address"):
        IPV6.emit("192.0.2.7")


@pytest.mark.parametrize("codec", [HOST, IP])
def test_brackets_around_a_host_are_read_and_not_written(codec: Codec[str]) -> None:
    assert codec.parse("[2001:DB8::7]") == "2001:db8::7"
    assert codec.emit("2001:db8::7") == "2001:db8::7"
    with pytest.raises(ValueError, match="not a"):
        codec.emit("[2001:db8::7]")
    with pytest.raises(ValueError, match="in brackets"):
        codec.parse("[192.0.2.7]")


def test_a_host_may_be_a_name() -> None:
    assert HOST.parse("example.com") == "example.com"
    with pytest.raises(ValueError, match="not a host name or IP address"):
        HOST.parse("exam ple.com")
    with pytest.raises(ValueError, match="not an IP address"):
        IP.parse("example.com")


def test_addresses_within_ipv6_are_spelled_alike_by_every_python() -> None:
    """CPython 3.13 writes the last 32 bits with dots, 3.11 in hexadecimal."""
    assert IP.parse("::FFFF:C000:207") == "::ffff:192.0.2.7"


def test_bind_addresses_are_found_by_name_and_keep_their_order() -> None:
    found = BIND_ADDRESSES.parse("b-192.0.2.7:0,a-[::1]:1")
    assert list(found) == ["b", "a"]
    assert found["a"] == Address("::1", 1)


@pytest.mark.parametrize("text", ["", "a", "a-192.0.2.7:1,a-192.0.2.7:2", "a-localhost:1"])
def test_bind_addresses_are_one_for_each_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a name-|more than one|without entries|not an IP"):
        BIND_ADDRESSES.parse(text)


@pytest.mark.parametrize("codec", [WANTED, OFFERED, BIND_ADDRESSES])
def test_a_list_without_entries_is_not_written(codec: Codec[Any]) -> None:
    """C37: to say nothing the setting is left out."""
    with pytest.raises(ValueError, match="a list without entries"):
        codec.emit({})


def test_no_entry_is_written_twice() -> None:
    with pytest.raises(ValueError, match="an entry is repeated"):
        WANTED.emit(("obfs4", "obfs4"))
    with pytest.raises(ValueError, match="an entry is repeated"):
        OFFERED.emit(("1", "1"))


# --- the upstream proxy ---------------------------------------------------------------------------

PLACE = Address("192.0.2.7", 1080)


def test_a_proxys_password_does_not_show() -> None:
    assert "sesame" not in repr(UpstreamProxy("socks5", PLACE, "me", "sesame"))


@pytest.mark.parametrize(
    "text",
    [
        "socks5://me:sesame@192.0.2.7:1080/",
        "socks5://me:sesame@192.0.2.7",
        "socks5://me:sesame@localhost:1080",
        "socks5://me:sesame",
        "socks5://me:open@sesame",
        "socks5://me:sesame@[::1",
        "socks5://me:sesame@2001:db8::7:1080",
        "socks5://me:sesame\ud800@192.0.2.7:1080",
        "sesame://me:sesame",
        "me:sesame@192.0.2.7:1080",
        "me:sesame://192.0.2.7:1080",
    ],
)
def test_no_error_shows_a_proxys_password(text: str) -> None:
    """Whatever is missing: what is left over may be a part of the password."""
    with pytest.raises(ValueError, match=r"prox|URI") as raised:
        PROXY.parse(text)
    shown = str(raised.value).replace("type of proxy (http, socks4, socks4a, socks5): 'sesame'", "")
    assert "sesame" not in shown
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_proxys_credentials_are_octets() -> None:
    """What is not UTF-8 is kept, so that the proxy gets what the host has written."""
    proxy = PROXY.parse("http://a%ffb:%80@192.0.2.7:80")
    assert proxy == UpstreamProxy("http", Address("192.0.2.7", 80), "a\udcffb", "\udc80")
    assert PROXY.emit(proxy) == "http://a%FFb:%80@192.0.2.7:80"


def test_a_lone_surrogate_is_no_octet() -> None:
    with pytest.raises(ValueError, match="a lone surrogate"):
        PROXY.emit(UpstreamProxy("http", PLACE, "\ud800"))


def test_a_password_for_socks4_is_read_and_not_written() -> None:
    proxy = PROXY.parse("socks4a://me:sesame@192.0.2.7:1080")
    assert proxy.password == "sesame"
    for scheme in ("socks4a", "socks4"):
        with pytest.raises(ValueError, match="a user name only"):
            PROXY.emit(evolve(proxy, scheme=scheme))


def test_a_password_alone_is_not_written() -> None:
    with pytest.raises(ValueError, match="without a user name"):
        PROXY.emit(UpstreamProxy("http", PLACE, None, "sesame"))


@pytest.mark.parametrize("scheme", ["", "https", "SOCKS5"])
def test_a_proxy_of_an_unknown_type_is_not_written(scheme: str) -> None:
    with pytest.raises(ValueError, match="not a type of proxy"):
        PROXY.emit(UpstreamProxy(scheme, PLACE))
