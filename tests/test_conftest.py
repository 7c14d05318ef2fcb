"""A missing program is a skip at home and an error in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """
import pytest

@pytest.mark.program("a-program-that-nobody-has")
def test_a_program(): pass
"""

SKIP = """
import pytest

@pytest.mark.program("python3")
def test_a_program(): pytest.skip("no time")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite that shares our conftest.py."""
    monkeypatch.delenv("PTIPC_REQUIRE_PROGRAMS", raising=False)
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = program")
    return pytester


def test_a_missing_program_is_a_skip_with_a_reason(suite: pytest.Pytester) -> None:
    suite.makepyfile(PROGRAM)
    result = suite.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not installed: a-program-that-nobody-has"])
    assert result.ret == pytest.ExitCode.OK


def test_a_missing_program_is_an_error_in_ci(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTIPC_REQUIRE_PROGRAMS", "1")
    suite.makepyfile(PROGRAM)
    result = suite.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*not installed: a-program-that-nobody-has"])


def test_a_test_of_programs_cannot_be_skipped_in_ci(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTIPC_REQUIRE_PROGRAMS", "1")
    suite.makepyfile(SKIP)
    result = suite.runpytest_inprocess()
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR skipped under PTIPC_REQUIRE_PROGRAMS: *::test_a_program"])


def test_a_whole_module_of_interop_cannot_be_skipped_in_ci(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTIPC_REQUIRE_PROGRAMS", "1")
    suite.makepyfile(test_interop="import pytest\npytest.importorskip('a_module_nobody_has')")
    suite.makepyfile(test_other="def test_other(): pass")
    assert suite.runpytest_inprocess().ret == pytest.ExitCode.TESTS_FAILED
