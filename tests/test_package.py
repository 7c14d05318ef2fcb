"""What is installed: its metadata, types and fixtures, and the commands of the front page."""

from __future__ import annotations

import configparser
import os
import re
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

import ptipc

CHECKOUT = Path(__file__).parents[1]
PACKAGED = files("ptipc") / "fixtures"
TOX = os.environ.get("TOX_ENV_DIR")

SETUP = configparser.ConfigParser()
SETUP.read(CHECKOUT / "setup.cfg", encoding="utf-8")


def contents(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    """The files below a folder, by their paths."""
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= contents(entry, f"{prefix}{entry.name}/")
        else:
            found[prefix + entry.name] = entry.read_bytes()
    return found


def test_tox_tests_what_it_has_installed() -> None:
    """If the checkout came first, nobody would miss what was left out of the wheel."""
    assert TOX is None or Path(ptipc.__file__).is_relative_to(TOX)
    assert TOX is None or PACKAGED.is_dir()


def test_the_fixtures_are_installed_octet_by_octet() -> None:
    """A checkout has them in a place of their own, and so has an editable install."""
    checkout = contents(CHECKOUT / "spec-fixtures")
    assert {"LICENSE", "README.md", "VERSION", "schema/case.schema.json"} <= checkout.keys()
    if PACKAGED.is_dir():
        assert contents(PACKAGED) == checkout


def test_every_package_is_listed() -> None:
    packages = {
        ".".join(path.parent.relative_to(CHECKOUT).parts)
        for path in (CHECKOUT / "ptipc").rglob("__init__.py")
    }
    elsewhere = {"ptipc.examples", "ptipc.fixtures"}  # beside ptipc/ in the checkout
    assert set(SETUP["options"]["packages"].split()) == packages | elsewhere


def test_the_types_are_shown() -> None:
    assert (files("ptipc") / "py.typed").is_file()


def test_attrs_is_all_that_is_needed() -> None:
    needed = [text for text in metadata.requires("ptipc") or () if "extra ==" not in text]
    assert needed == ["attrs>=24.2"]


def test_there_is_one_version() -> None:
    version = SETUP["metadata"]["version"]
    assert metadata.version("ptipc") == version
    assert newest(CHECKOUT / "CHANGELOG.md") == version


def test_the_fixtures_have_a_version_of_their_own() -> None:
    folder = CHECKOUT / "spec-fixtures"
    version = (folder / "VERSION").read_text(encoding="utf-8")
    assert version == newest(folder / "CHANGELOG.md") + "\n"


def newest(changes: Path) -> str:
    """The version at the top of a list of changes."""
    heading = re.search(r"^## (\S+)", changes.read_text(encoding="utf-8"), re.MULTILINE)
    assert heading is not None
    return heading[1]


def test_the_command_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="ptipc")
    assert callable(command.load())


@pytest.mark.parametrize("name", ["README.md", ".ci/run"])
def test_two_commands_show_and_check_everything(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert "python3 -m pip install . && ptipc demo" in text
    assert "python3 -m pip install tox && tox" in text
