"""Files fetched from a server on this machine that breaks off, lies and goes away."""

from pathlib import Path
from typing import Any

import pytest
from openneuro_server import BOLD, Server, fetched, listed, tree

from cospine.errors import CoSpineError
from cospine.fetch import download
from cospine.fetch.download import fetch_all
from cospine.fetch.openneuro import ATTEMPTS, RemoteFile
from cospine.fetch.plan import Plan, make_plan

LOST = 1 << 16
"""Bytes that a break may cost."""


def test_everything_arrives_as_it_is(server: Server, tmp_path: Path) -> None:
    results = fetched(server, tmp_path / "ds")
    assert tree(tmp_path / "ds") == server.files
    assert {one.proof for one in results if one.file.size_bytes} == {"checksum"}
    assert len(server.queries) == 5  # the versions, then one a level of folders


def test_a_second_time_nothing_is_fetched(server: Server, tmp_path: Path) -> None:
    fetched(server, tmp_path)
    server.requests.clear()
    assert fetched(server, tmp_path) == []
    assert server.requests == []


def test_a_connection_that_breaks_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.faults[BOLD] = [("cut", 300_000), ("cut", 200_000)]
    moved: list[int] = []
    results = fetch_all(make_plan(listed(server), tmp_path), pause_s=0, progress=moved.append)
    assert all(one.proof for one in results)
    assert (tmp_path / BOLD).read_bytes() == server.files[BOLD]
    first, second, third = [wanted for path, wanted in server.requests if path == BOLD]
    assert first == ""
    begun = [int(wanted[len("bytes=") : -1]) for wanted in (second, third)]
    assert 300_000 - LOST < begun[0] <= 300_000
    assert begun[0] + 200_000 - LOST < begun[1] <= begun[0] + 200_000
    assert sum(moved) == sum(map(len, server.files.values()))  # progress counts no byte twice


def test_another_run_goes_on_where_the_last_one_stopped(server: Server, tmp_path: Path) -> None:
    server.faults[BOLD] = [("cut", 500_000), *[("status", 503)] * ATTEMPTS]
    failed = download.failures(fetched(server, tmp_path))
    assert [one.file.path for one in failed] == [BOLD]
    assert not (tmp_path / BOLD).exists()  # nothing half under its own name
    server.faults.clear()
    server.requests.clear()
    again = make_plan(listed(server), tmp_path)
    assert 500_000 - LOST < again.begun_bytes <= 500_000
    fetch_all(again, pause_s=0)
    assert server.requests == [(BOLD, f"bytes={again.begun_bytes}-")]
    assert tree(tmp_path) == server.files


def test_a_server_that_ignores_the_range_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.faults[BOLD] = [("cut", 100_000), ("whole",)]
    fetched(server, tmp_path)
    assert tree(tmp_path) == server.files


@pytest.mark.parametrize("path", [BOLD, "participants.tsv"])
def test_a_wrong_byte_is_found_and_fetched_again(server: Server, tmp_path: Path, path: str) -> None:
    server.faults[path] = [("flip",)]
    assert not download.failures(fetched(server, tmp_path))
    assert tree(tmp_path) == server.files
    assert len([one for one, _ in server.requests if one == path]) == 2


@pytest.mark.parametrize("fault", [("flip",), ("long",), ("status", 503)])
def test_what_stays_wrong_ends(server: Server, tmp_path: Path, fault: tuple[Any, ...]) -> None:
    server.faults[BOLD] = [fault] * 50
    failed = download.failures(fetched(server, tmp_path))
    assert [one.file.path for one in failed] == [BOLD]
    assert not (tmp_path / BOLD).exists()
    assert len([one for one, _ in server.requests if one == BOLD]) == ATTEMPTS
    assert set(tree(tmp_path)) == set(server.files) - {BOLD}  # the others came, and no part that is wrong stays


def test_a_file_that_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults[BOLD] = [("status", 404)] * 50
    (failed,) = download.failures(fetched(server, tmp_path))
    assert "404" in failed.error
    assert len([one for one, _ in server.requests if one == BOLD]) == 1


def test_a_disk_that_cannot_be_written_to_ends_it(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(download, "_sync", full)
    with pytest.raises(CoSpineError, match="No space left"):
        fetched(server, tmp_path)


def test_an_empty_plan(tmp_path: Path) -> None:
    assert fetch_all(Plan(tmp_path, (), (), 0, 0)) == []


def test_a_link_that_is_listed_as_empty_is_no_file(tmp_path: Path) -> None:
    link = RemoteFile("sub-01/anat/link.nii.gz", 0, "a" * 40, ())
    (result,) = fetch_all(Plan(tmp_path, (link,), (), 0, 1 << 30), pause_s=0)
    assert result.proof is None
    assert "a link inside the dataset" in result.error
    assert not (tmp_path / link.path).exists()
