"""What a launch needs of the operating system: the start, a state directory, a cookie file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ptipc.core.extorport import parse_cookie_file
from ptipc.core.launch import LaunchError, launch_config, plan
from ptipc.launching import CookieFile, spawn, with_state
from tests.aio.hosting import nothing_left


def test_a_process_is_started_as_it_was_planned(tmp_path: Path) -> None:
    program = tmp_path / "program.sh"
    program.write_text("#!/bin/sh\npwd\necho $TOR_PT_CLIENT_TRANSPORTS $ALSO\n")
    program.chmod(0o755)
    with nothing_left():
        child = spawn(
            plan([program], client=["one"], cwd=tmp_path, environ={"ALSO": "x", "PATH": "/bin"})
        )
        (stdout, _) = child.outputs.values()
        child.wait()
        assert stdout.read() == f"{tmp_path}\none x\n".encode()
        assert child.reap() == 0
        child.close()


def test_what_cannot_be_started_is_explained(tmp_path: Path) -> None:
    with nothing_left(), pytest.raises(LaunchError) as caught:
        spawn(plan([tmp_path / "nothing"], client=["one"]))
    assert "No such file" in str(caught.value)
    assert f"as user {os.geteuid()}" in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_state_directory_of_ours_is_private_and_does_not_stay() -> None:
    with with_state(launch_config(client=["one"])) as config:
        assert config.state is not None
        assert stat.S_IMODE(os.stat(config.state).st_mode) == 0o700
        Path(config.state, "file").write_text("something")
    assert not os.path.exists(config.state)


def test_a_state_directory_of_somebody_else_is_absolute_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("state").mkdir()
    for given in ("state", "~/state"):
        with with_state(launch_config(client=["one"], state=given)) as config:
            assert config.state == f"{tmp_path}/state"
    assert Path("state").is_dir()


def test_a_cookie_of_ours_goes_with_its_directory() -> None:
    key = CookieFile()
    key.make()
    assert key.path is not None
    path = Path(key.path)
    assert parse_cookie_file(path.read_bytes()) == key.cookie
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert repr(key.cookie) not in repr(key)
    key.remove()
    assert not path.parent.exists()
    assert key.path is None


def test_a_cookie_where_somebody_wants_it_can_be_changed_and_stays(tmp_path: Path) -> None:
    key = CookieFile(str(tmp_path / "cookie"))
    key.make()
    old = key.cookie
    key.rotate()
    assert key.cookie != old
    assert parse_cookie_file((tmp_path / "cookie").read_bytes()) == key.cookie
    tmp_path.joinpath("cookie").unlink()
    key.path = str(tmp_path / "nowhere" / "cookie")
    kept = key.cookie
    with pytest.raises(FileNotFoundError):
        key.rotate()
    assert key.cookie == kept
    key.remove()
    assert key.path is not None
