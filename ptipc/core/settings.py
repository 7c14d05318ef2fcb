"""The settings of one launch as they are spelled: found, sorted, and written down again.

``find`` and ``read`` take them from variables and flags, ``write`` says them; both directions walk
``PARAMETERS`` and obey the same ``EXCLUSIONS`` and ``NEEDS``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from ptipc.core.dialects import DIALECTS, Dialect, Role
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.messages import EnvError
from ptipc.core.parameters import EXCLUSIONS, NEEDS, PARAMETERS, Parameter, is_flag, spellings

__all__ = [
    "Channel",
    "Found",
    "Settings",
    "environment_error",
    "find",
    "find_versions",
    "parameter_for",
    "read",
    "usual_channel",
    "write",
]

Channel: TypeAlias = Literal["environment", "flags"]
"""The way in which settings reach a transport process."""


def usual_channel(dialect: Dialect) -> Channel:
    """The way that is usual in an edition."""
    return "flags" if dialect.flags_preferred else "environment"


# --- reading --------------------------------------------------------------------------------------


@frozen
class Found:
    """A setting in the words of whoever gave it."""

    parameter: Parameter
    spelling: str
    text: str = field(repr=False)

    @property
    def by_flag(self) -> bool:
        """Whether it was a flag and not a variable."""
        return is_flag(self.spelling)

    def value(self, dialect: Dialect) -> Any:
        """What it says.

        Raises ConfigError, with the message that the parameter has for it, if it cannot be read.
        """
        try:
            return self.parameter.codec.parse(self.text)
        except ValueError as error:
            text = f"{self.spelling}: {error}"
        # Outside of "except", lest a traceback shows a secret.
        raise ConfigError(self.parameter.error(text), text, dialect)


@frozen
class Settings:
    """The settings of one launch, by name, with no rule between them broken."""

    dialect: Dialect
    found: Mapping[str, Found]
    warnings: tuple[str, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting, or ``default`` if it is not given; ConfigError if it is bad."""
        found = self.found.get(name)
        return default if found is None else found.value(self.dialect)

    def joined(self, name: str) -> tuple[Any, Any] | None:
        """The two halves of an address:port, ``NAME_host`` and ``NAME_port``."""
        host = self.get(f"{name}_host")
        return None if host is None else (host, self.get(f"{name}_port"))


def environment_error(text: str, dialect: Dialect) -> ConfigError:
    """The error that is answered by ``ENV-ERROR``."""
    return ConfigError(EnvError(text), text, dialect)


def _flags(dialects: Sequence[Dialect]) -> dict[str, Parameter]:
    return {
        row.flag: row
        for row in PARAMETERS
        if row.flag is not None and any(row.applies(dialect) for dialect in dialects)
    }


def _split(
    argv: Sequence[str], flags: Mapping[str, Parameter]
) -> Iterator[tuple[str, Parameter | None, str | None]]:
    """Each flag: as it is spelled, its row (None: not a flag), its value (None: missing).

    C53: ``-x value``, ``-x=value``, ``--x value``, ``--x=value``, as Go's package ``flag`` has it.
    """
    words = list(reversed(argv))
    while words:
        word, equals, text = words.pop().partition("=")
        flag = word[1:] if word.startswith("--") else word
        row = flags.get(flag)
        if row is None:
            yield flag, None, None
        elif equals:
            yield flag, row, text
        elif not row.bare:
            yield flag, row, words.pop() if words else None
        elif words and words[-1] in ("0", "1", "true", "false"):
            yield flag, row, words.pop()  # C52
        else:
            yield flag, row, "1"


def find_versions(environ: Mapping[str, str], argv: Sequence[str]) -> Found | None:
    """The list of versions, by which the edition is chosen (PT 3.0 Base section 4.2)."""
    flags = {flag: text for flag, _, text in _split(argv, _flags(DIALECTS))}
    for row in PARAMETERS:
        if row.name == "versions":
            for spelling, given in ((row.flag, flags), (row.env, environ)):
                if spelling is not None and (text := given.get(spelling)):
                    return Found(row, spelling, text)
    return None


def find(environ: Mapping[str, str], argv: Sequence[str], dialect: Dialect) -> tuple[Found, ...]:
    """Every variable and flag of an edition that is set, variables first.

    ``argv`` is without the name of the program.  An empty variable is as good as none (C37), and
    an edition without flags leaves ``argv`` to the transport.
    Raises ConfigError if the flags are not those of the edition, or one is repeated (C53).
    """
    flags: dict[str, Found] = {}
    before = "the name of the program"
    for flag, row, text in _split(argv, _flags([dialect])) if dialect.flags else ():
        if row is None and not flag.startswith("-"):
            # It is not shown: it may be a piece of a secret that was not quoted.
            raise environment_error(f"a word behind {before} belongs to no flag", dialect)
        if row is None:
            raise environment_error(f"{flag}: not a flag of {dialect}", dialect)
        if text is None:
            raise environment_error(f"{flag}: the value is missing", dialect)
        if row.name in flags:
            said = flags[row.name].spelling
            twice = (
                f"{flag}: given twice" if flag == said else f"{said} and {flag}: the same, twice"
            )
            raise environment_error(twice, dialect)
        flags[row.name] = Found(row, flag, text)
        before = flag
    variables = [
        Found(row, row.env, text)
        for row in PARAMETERS
        if row.env is not None and row.applies(dialect) and (text := environ.get(row.env))
        # An edition without variables takes the list of versions from one, if there is no flag.
        if dialect.environment or row.name not in flags
    ]
    return (*variables, *flags.values())


def read(found: Sequence[Found], dialect: Dialect, role: Role) -> Settings:
    """Sort what was found: at most one of each setting, of the role, and by the rules.

    Raises ConfigError for a flag of the other role, and for a broken rule.
    """
    kept: dict[str, Found] = {}
    warnings: list[str] = []
    for each in found:
        if not each.parameter.applies(dialect, role):
            alien = f"{each.spelling}: not for a {role.value}"
            if each.by_flag:
                raise environment_error(alien, dialect)
            # C38: tor hands on what it has inherited.
            warnings.append(f"{alien}, ignored")
            continue
        other = kept.get(each.parameter.name)
        if other is not None:
            # C6: 2.0 says that the flag wins; from 2.2 on a host must not give both.
            both = f"{other.spelling} and {each.spelling}: the same, as variable and as flag"
            warnings.append(f"{both}; the flag counts")
        kept[each.parameter.name] = each
    broken = _broken({name: each.spelling for name, each in kept.items()}, dialect, role)
    if broken:
        raise environment_error(broken, dialect)
    return Settings(dialect, kept, tuple(warnings))


# --- rules, in both directions --------------------------------------------------------------------


def _broken(spelled: Mapping[str, str], dialect: Dialect, role: Role) -> str | None:
    """The first rule that some settings break; they are given by name, with their spelling."""
    for exclusion in EXCLUSIONS:
        if all(name in spelled for name in exclusion.names):
            both = " and ".join(spelled[name] for name in exclusion.names)
            return f"{both}: {exclusion.rule}"
    for needs in NEEDS:
        missing = [name for name in needs.others if name not in spelled]
        if needs.name in spelled and missing:
            by_flag = is_flag(spelled[needs.name])
            others = " and ".join(_spelling(name, dialect, role, by_flag) for name in missing)
            return f"{spelled[needs.name]}: {needs.rule}; {others} is missing"
    return None


def _spelling(name: str, dialect: Dialect, role: Role, by_flag: bool) -> str:
    return min(spellings((name,), dialect, role), key=lambda each: is_flag(each) != by_flag)


# --- writing --------------------------------------------------------------------------------------


def parameter_for(name: str, dialect: Dialect, role: Role, channel: Channel) -> Parameter | None:
    """The row to say a setting by: one of the channel, or else one of the other; None: no way."""
    by_flag = channel == "flags"
    rows = [row for row in PARAMETERS if row.name == name and row.applies(dialect, role)]
    return min(rows, key=lambda row: is_flag(row.spelling(by_flag)) != by_flag, default=None)


def write(
    settings: Mapping[str, Any], dialect: Dialect, role: Role, channel: Channel
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables and the flags that say some settings, in their order.

    Raises LocalProtocolError if the edition has no spelling for one, if a value cannot be written,
    or if a rule is broken.
    """
    variables: dict[str, str] = {}
    flags: list[str] = []
    spelled: dict[str, str] = {}
    for name, value in settings.items():
        row = parameter_for(name, dialect, role, channel)
        if row is None:
            raise LocalProtocolError(f"{name} cannot be said to a {role.value} in {dialect}")
        try:
            text = row.codec.emit(value)
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise LocalProtocolError(f"{name}: text that is no Unicode") from None
        except ValueError as error:
            raise LocalProtocolError(f"{name}: {error}") from None
        spelled[name] = row.spelling(channel == "flags")
        if not is_flag(spelled[name]):
            variables[spelled[name]] = text
        else:
            flags += [spelled[name]] if row.bare else [spelled[name], text]
    broken = _broken(spelled, dialect, role)
    if broken:
        raise LocalProtocolError(broken)
    return variables, tuple(flags)
