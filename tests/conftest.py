"""What every test relies on: Hypothesis profiles, and real programs that do not go missing.

``PTIPC_REQUIRE_PROGRAMS=1`` says that every real program is there, as in CI.  A test that misses
one is then an error, and any other skip among the tests of real programs fails the run.
"""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

REQUIRED = os.environ.get("PTIPC_REQUIRE_PROGRAMS") == "1"

settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


class NothingSkipped:
    """Fails a run in which a test of real programs did not take place."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and ("program" in report.keywords or "interop" in report.nodeid):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and "interop" in report.nodeid:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.skipped:
            terminalreporter.write_line(f"ERROR skipped under PTIPC_REQUIRE_PROGRAMS: {nodeid}")


def pytest_configure(config: pytest.Config) -> None:
    if REQUIRED:
        config.pluginmanager.register(NothingSkipped())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that a test names with ``@pytest.mark.program("tor", "curl")``."""
    names = [name for mark in item.iter_markers("program") for name in mark.args]
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        if REQUIRED:
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
