"""Args, and the texts they travel in; the examples are in spec-fixtures/codec."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ptipc.core import escapes
from ptipc.core.codecs import Codec
from ptipc.core.escapes import (
    ARGS,
    CSTRING,
    JSON_ARGS,
    JSON_OPTIONS,
    NO_ARGS,
    OPTIONS,
    OPTIONS_EQUALS,
    PAIRS,
    SMETHOD_ARGS,
    SMETHOD_ARGS_LAX,
    Args,
)
from ptipc.testing import strategies as some

EVERY: dict[str, tuple[Codec[Any], SearchStrategy[Any]]] = {
    "ARGS": (ARGS, some.args()),
    "CSTRING": (CSTRING, some.texts() | st.text("a \\\"'\n\r\t0x")),
    "JSON_ARGS": (JSON_ARGS, some.json_args()),
    "JSON_OPTIONS": (JSON_OPTIONS, some.json_options()),
    "OPTIONS": (OPTIONS, some.options()),
    "OPTIONS_EQUALS": (OPTIONS_EQUALS, some.options()),
    "PAIRS": (PAIRS, some.pairs()),
    "SMETHOD_ARGS": (SMETHOD_ARGS, some.line_args()),
    "SMETHOD_ARGS_LAX": (SMETHOD_ARGS_LAX, some.line_args()),
}
IN_LINES = {"CSTRING", "PAIRS", "SMETHOD_ARGS", "SMETHOD_ARGS_LAX"}

each = pytest.mark.parametrize("name", EVERY)


# --- every codec ----------------------------------------------------------------------------------


def test_every_codec_is_tested() -> None:
    there = {name for name in escapes.__all__ if isinstance(getattr(escapes, name), Codec)}
    assert there == set(EVERY)


def ordered(value: Any) -> Any:
    """Args with the order of different names, which does not matter to their equality."""
    if isinstance(value, Args):
        return value.pairs
    if isinstance(value, Mapping):
        return [(name, ordered(inner)) for name, inner in value.items()]
    return value


@each
@given(data=st.data())
def test_what_is_written_is_one_line_and_read_as_the_same(name: str, data: st.DataObject) -> None:
    """Lines are ASCII; SOCKS, variables and flags may carry more."""
    codec, values = EVERY[name]
    value = data.draw(values)
    text = codec.emit(value)
    again = codec.parse(text)
    assert again == value
    assert ordered(again) == ordered(value)
    assert not set("\0\r\n") & set(text)
    assert text == "" or (text.isascii() and text.isprintable()) or name not in IN_LINES


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


@pytest.mark.parametrize(
    "text",
    [
        "k=" + "v" * (1 << 18),
        "k=" + "\\;" * (1 << 17),
        "k=" + "," * (1 << 18),
        ";".join(["k=v"] * (1 << 16)),
        ",".join(["k=v"] * (1 << 16)),
        ";".join(["a:k=v"] * (1 << 16)),
        " ".join(["K=v"] * (1 << 16)),
        'K="' + "\\n" * (1 << 17),
        '{"k":"' + "v" * (1 << 18) + '"}',
        '{"k":' + "9" * (1 << 18) + "}",
        '"' + "\ud800" * (1 << 18) + '"',
        "\\" * (1 << 18),
        "=" * (1 << 18),
    ],
    ids=lambda text: ascii(f"{text[:8]}..{text[-8:]}"),
)
@each
def test_a_long_text_is_read_or_refused(name: str, text: str) -> None:
    """It would take very long if the time grew with the square of the length."""
    codec, _ = EVERY[name]
    assert spell(codec, text) != ""


# --- Args -----------------------------------------------------------------------------------------


def test_args_are_a_mapping_of_first_values() -> None:
    args = Args([("a", "1"), ("b", "2"), ("a", "3")])
    assert dict(args) == {"a": "1", "b": "2"}
    assert list(args) == ["a", "b"]
    assert len(args) == 2
    assert "a" in args
    assert args.get("c") is None
    with pytest.raises(KeyError):
        args["c"]


def test_args_keep_all_values() -> None:
    args = Args([("a", "1"), ("b", "2"), ("a", "3")])
    assert args.pairs == (("a", "1"), ("b", "2"), ("a", "3"))
    assert args.all("a") == ("1", "3")
    assert args.all("c") == ()


@pytest.mark.parametrize(
    "args",
    [
        {"a": "1", "b": "2"},
        [("a", "1"), ("b", "2")],
        [["a", "1"], ["b", "2"]],
        iter([("a", "1"), ("b", "2")]),
        MappingProxyType({"a": "1", "b": "2"}),
        Args({"a": "1", "b": "2"}),
    ],
    ids=lambda args: type(args).__name__,
)
def test_args_are_made_of_a_mapping_or_of_pairs(args: Any) -> None:
    assert Args(args).pairs == (("a", "1"), ("b", "2"))


def test_text_is_not_taken_for_pairs() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        Args("a=b")  # type: ignore[arg-type]


def test_args_are_equal_to_a_dict_in_any_order() -> None:
    args = Args([("a", "1"), ("b", "2")])
    other = {"b": "2", "a": "1"}
    assert args == other
    assert other == args
    assert args == Args([("b", "2"), ("a", "1")])
    assert args != {"a": "1"}
    assert args != {"a": "1", "b": "3"}


def test_args_with_a_repeated_name_are_equal_to_no_dict() -> None:
    args = Args([("a", "1"), ("a", "2")])
    assert args != {"a": "1"}
    assert args != Args([("a", "2"), ("a", "1")])
    assert args == Args([("a", "1"), ("a", "2")])


def test_args_are_equal_to_nothing_but_mappings() -> None:
    assert Args() != ()
    assert Args({"a": "1"}) != (("a", "1"),)


named = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12")), max_size=3)


@given(named, named, named)
def test_equality_is_one(a: list[Any], b: list[Any], c: list[Any]) -> None:
    """It goes both ways and through, and equal args have equal hashes."""
    one, two, three = Args(a), Args(b), Args(c)
    assert (one == two) == (two == one)
    if one == two:
        assert hash(one) == hash(two)
        assert (one == three) == (two == three)
        assert (one == dict(three)) == (two == dict(three))


def test_args_with_lists_can_be_hashed() -> None:
    assert len({JSON_ARGS.parse('{"a":[1]}'), JSON_ARGS.parse('{"a":[1]}')}) == 1


def test_args_cannot_be_changed() -> None:
    args = Args({"a": "1"})
    with pytest.raises(FrozenInstanceError):
        args.pairs = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        args["a"] = "2"  # type: ignore[index]
    source = {"a": "1"}
    args = Args(source)
    source["a"] = "2"
    assert args == {"a": "1"}


@given(some.args() | some.json_args())
def test_args_can_be_copied_and_sent_away(args: Args) -> None:
    for again in (copy.copy(args), copy.deepcopy(args), pickle.loads(pickle.dumps(args))):
        assert type(again) is Args
        assert again == args
        assert again.pairs == args.pairs
        assert dict(again) == dict(args)


def test_args_show_their_names_only() -> None:
    args = Args([("cert", "sesame"), ("iat-mode", "0"), ("cert", "sesame"), ("\n", "sesame")])
    assert repr(args) == "Args(cert=..., iat-mode=..., cert=..., \\n=...)"
    assert str(args) == f"{args}" == repr(args)


# --- backslash lists ------------------------------------------------------------------------------

LISTS: list[Codec[Any]] = [ARGS, SMETHOD_ARGS, SMETHOD_ARGS_LAX]


@pytest.mark.parametrize("codec", LISTS)
def test_lists_write_any_mapping(codec: Codec[Any]) -> None:
    assert codec.emit({"cert": "x"}) == "cert=x"
    assert codec.emit({}) == ""
    assert codec.parse("") is NO_ARGS or codec.parse("") == NO_ARGS


@pytest.mark.parametrize("codec", LISTS)
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("sesame", "no equals sign in an item"),
        ("=sesame", "an item without a key"),
        ("cert=sesame\\", "a backslash at the end escapes nothing"),
        ("cert\\=sesame", "no equals sign in an item"),
    ],
)
def test_what_is_wrong_is_said_without_the_text(codec: Codec[Any], text: str, rule: str) -> None:
    """The values are often secrets."""
    with pytest.raises(ValueError, match=f"^{rule}$"):
        codec.parse(text)


@pytest.mark.parametrize(
    "text", ["sesame", "cert=sesame", "se:same", ":cert=sesame", "a:cert=sesame\\", "a:=sesame"]
)
@pytest.mark.parametrize("codec", [OPTIONS, OPTIONS_EQUALS])
def test_options_are_not_shown_either(codec: Codec[Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"colon|begin with|equals sign|a key|backslash") as raised:
        codec.parse(text)
    assert "sesame" not in str(raised.value).removeprefix(
        "no colon between 'sesame' and its option"
    )


@pytest.mark.parametrize("char", ["\0", "\n", "\r", "\ud800"])
@pytest.mark.parametrize("codec", [ARGS, SMETHOD_ARGS])
def test_what_would_break_its_carrier_is_not_written(codec: Codec[Any], char: str) -> None:
    for args in (Args({f"k{char}": "v"}), Args({"k": f"sesame{char}"})):
        with pytest.raises(ValueError, match="a character that cannot be written") as raised:
            codec.emit(args)
        assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("char", [" ", "\t", "é", "\x7f", "\udcff"])
def test_a_field_of_a_line_is_printable_ascii_without_space(char: str) -> None:
    """SOCKS carries octets, and so does a variable, but an SMETHOD line is divided by spaces."""
    args = Args({"k": char})
    assert ARGS.parse(ARGS.emit(args)) == args
    assert OPTIONS.parse(OPTIONS.emit({"a": args})) == {"a": args}
    with pytest.raises(ValueError, match="a character that cannot be written"):
        SMETHOD_ARGS.emit(args)


def test_octets_that_are_not_utf8_survive() -> None:
    """Whoever has octets decodes and encodes them with surrogateescape."""
    octets = b"cert=\xff\xe9;k=\\;\x80"
    args = ARGS.parse(octets.decode("utf-8", "surrogateescape"))
    assert args["cert"] == "\udcff\udce9"
    assert ARGS.emit(args).encode("utf-8", "surrogateescape") == octets


@pytest.mark.parametrize("codec", LISTS)
def test_only_text_with_a_name_can_be_written(codec: Codec[Any]) -> None:
    with pytest.raises(ValueError, match="the value of 'k' is not text"):
        codec.emit({"k": 1})
    with pytest.raises(ValueError, match="without a key"):
        codec.emit({"": "v"})


def test_a_transport_without_options_does_not_appear() -> None:
    assert OPTIONS.emit({"a": NO_ARGS, "b": Args({"k": "v"})}) == "b:k=v"
    assert OPTIONS.emit({"a": NO_ARGS}) == ""
    assert OPTIONS.parse("") == {}


def test_editions_differ_in_the_equals_signs_of_values() -> None:
    """C34."""
    options = {"a": Args({"k=": "v="})}
    assert OPTIONS.emit(options) == "a:k\\==v="
    assert OPTIONS_EQUALS.emit(options) == "a:k\\==v\\="
    for codec in (OPTIONS, OPTIONS_EQUALS):
        assert codec.parse(OPTIONS.emit(options)) == options
        assert codec.parse(OPTIONS_EQUALS.emit(options)) == options


def test_unescaped_commas_belong_to_the_value() -> None:
    """pyptlib writes them; an item without equals sign cannot be anything else."""
    assert SMETHOD_ARGS.parse("k=a,b\\,c,,d=e,").pairs == (("k", "a,b,c,"), ("d", "e"))


@given(some.line_args())
def test_semicolons_are_separators_only_where_nobody_else_would_write_them(args: Args) -> None:
    """C30: what is written by the grammar means the same in every edition."""
    text = SMETHOD_ARGS.emit(args)
    assert SMETHOD_ARGS_LAX.parse(text).pairs == SMETHOD_ARGS.parse(text).pairs


def test_semicolons_separate_pairs_where_there_are_no_commas() -> None:
    assert SMETHOD_ARGS_LAX.parse("a=1;b=2,").pairs == (("a", "1"), ("b", "2"))
    assert SMETHOD_ARGS_LAX.parse("a=1;b=2,c=3").pairs == (("a", "1;b=2"), ("c", "3"))
    assert SMETHOD_ARGS_LAX.parse("a=1;=2").pairs == (("a", "1;=2"),)


# --- CString and pairs ----------------------------------------------------------------------------


@given(st.text())
def test_any_string_can_be_written(text: str) -> None:
    """What both tor and arti can read is kept; all else becomes visible, and stays as it is."""
    written = CSTRING.emit(text)
    assert written.isascii()
    assert written.isprintable()
    again = CSTRING.parse(written)
    assert CSTRING.emit(again) == written
    if all(char in "\n\r\t" or " " <= char <= "~" for char in text):
        assert again == text


@given(st.binary(max_size=12))
def test_escapes_are_octets(octets: bytes) -> None:
    """goptlib writes octets in octal, others in hexadecimal; together they are UTF-8 or not."""
    expected = octets.decode("utf-8", "replace")
    assert CSTRING.parse('"' + "".join(f"\\{octet:03o}" for octet in octets) + '"') == expected
    assert CSTRING.parse('"' + "".join(f"\\x{octet:02X}" for octet in octets) + '"') == expected
    raw = octets.replace(b"\\", b"").replace(b'"', b"").decode("utf-8", "surrogateescape")
    assert "\udcff" not in CSTRING.parse(f'"{raw}"')


def test_octets_that_are_not_utf8_are_replaced_in_and_out_of_quotes() -> None:
    """C15: such text can be logged, and printed, without further care."""
    assert CSTRING.parse("caf\udce9") == CSTRING.parse('"caf\udce9"') == "caf\ufffd"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\0"', "\0"),
        ('"\\777"', "\ufffd"),
        ('"\\x4g"', "x4g"),
        ('"\\x"', "x"),
        ('"\\\n"', "\n"),
        ("\\n", "\\n"),
    ],
)
def test_odd_escapes_are_no_reason_to_fail(text: str, value: str) -> None:
    assert CSTRING.parse(text) == value


@pytest.mark.parametrize("text", ['"abc', "two words", '"a" b', '"\\"'])
def test_what_is_not_one_string_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"not one quoted string|white space outside of quotes"):
        CSTRING.parse(text)


def test_pairs_keep_their_order_and_repeat() -> None:
    """C22: tor keeps all, so they are read; arti keeps the last, so they are not written."""
    pairs = PAIRS.parse("A=b C=d A=e")
    assert pairs == (("A", "b"), ("C", "d"), ("A", "e"))
    with pytest.raises(ValueError, match="a key is repeated"):
        PAIRS.emit(pairs)


@pytest.mark.parametrize("text", ["", "  ", "A", "A=b c", "=b", 'A="b', 'A="b"c', '"A"=b'])
def test_what_is_no_list_of_pairs_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of KEY=value"):
        PAIRS.parse(text)


def test_a_word_may_have_quotes_within() -> None:
    assert PAIRS.parse('A=b"c D=e') == (("A", 'b"c'), ("D", "e"))


def test_pairs_without_entries_or_with_bad_keys_are_not_written() -> None:
    with pytest.raises(ValueError, match="without entries"):
        PAIRS.emit(())
    for key in ("", "A B", "A=", 'A"', "É", "A\n"):
        with pytest.raises(ValueError, match="not a key"):
            PAIRS.emit(((key, "v"),))


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [JSON_ARGS, JSON_OPTIONS])
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("sesame", "not JSON: expecting value at character 0"),
        ('"sesame"', "not a JSON object but a str"),
        ('{"k":"sesame"', r"not JSON: expecting '.' delimiter at character 13"),
        ('{"k":NaN}', "NaN is not JSON"),
        ('{"k":1e999}', "cannot be written as JSON: Out of range float"),
        ('{"k":"sesame\\ud800"}', "cannot be written as JSON: .* surrogates not allowed"),
        ('{"k":' * 100_000, "JSON nested too deeply"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_wrong_with_json_is_said_without_the_text(
    codec: Codec[Any], text: str, rule: str
) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        codec.parse(text)
    assert "sesame" not in str(raised.value)
    assert not hasattr(raised.value, "doc"), "the error carries no document"


def test_json_is_written_compactly_and_in_order() -> None:
    assert JSON_ARGS.emit(Args([("b", "é"), ("a", None)])) == '{"b":"é","a":null}'


def test_json_writes_any_mapping_as_an_object() -> None:
    options = {"obfs4": Args({"iat-mode": "0"}), "meek": MappingProxyType({"url": "x"})}
    assert JSON_OPTIONS.emit(options) == '{"obfs4":{"iat-mode":"0"},"meek":{"url":"x"}}'
    assert JSON_OPTIONS.emit(MappingProxyType(options)) == JSON_OPTIONS.emit(options)


def test_an_object_has_each_name_once() -> None:
    """C51: the last one counts when read."""
    twice = Args([("k", "v"), ("k", "v")])
    for value in (twice, {"obfs4": twice}):
        with pytest.raises(ValueError, match="a name is repeated"):
            JSON_OPTIONS.emit(value)
    assert JSON_ARGS.parse('{"k":1,"k":2}').pairs == (("k", 2),)


@pytest.mark.parametrize("value", [{1: "v"}, {"k": {None: "v"}}, {"k": ("a", "b")}])
def test_what_would_be_read_as_something_else_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="without becoming something else"):
        JSON_OPTIONS.emit(value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"k": {"a"}}, "a set is not JSON"),
        ({"k": b"v"}, "a bytes is not JSON"),
        ({"k": float("inf")}, "Out of range float"),
        ({"k": "\ud800"}, "surrogates not allowed"),
        ({"\ud800": "v"}, "surrogates not allowed"),
    ],
)
def test_what_is_not_json_is_not_written(value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        JSON_OPTIONS.emit(value)


def test_what_contains_itself_is_not_written() -> None:
    value: dict[str, Any] = {}
    value["k"] = value
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        JSON_OPTIONS.emit(value)


def test_what_is_nested_too_deeply_is_not_written() -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"k": value}
    with pytest.raises(ValueError, match=r"cannot be written as JSON"):
        JSON_OPTIONS.emit(value)
