"""What is wanted, what is here, and whether it fits."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openneuro_server import Server, fetched, listed, tree

from cospine.errors import CoSpineError
from cospine.fetch import plan
from cospine.fetch.openneuro import RemoteFile
from cospine.fetch.plan import Choice, in_words, part_of


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice(participants=("sub-02",)), lambda path: "/" not in path or path.startswith("sub-02/")),
        (Choice(include=("sub-*/anat/*",)), lambda path: "/" not in path or "/anat/" in path),
        (Choice(include=("derivatives",)), lambda path: "/" not in path or path.startswith("derivatives/")),
        (
            Choice(participants=("sub-01",), include=("derivatives", "sub-01")),
            lambda path: "/" not in path or path.startswith(("sub-01/", "derivatives/masks/sub-01/")),
        ),
        (Choice(exclude=("*.nii.gz",)), lambda path: not path.endswith(".nii.gz")),
        (Choice(exclude=("derivatives", "empty.txt")), lambda path: not path.startswith(("derivatives/", "empty"))),
    ],
)
def test_only_what_is_asked_for(server: Server, tmp_path: Path, choice: Choice, wanted: Any) -> None:
    fetched(server, tmp_path, choice)
    assert set(tree(tmp_path)) == {path for path in server.files if wanted(path)}


def test_files_that_differ_are_kept_unless_forced(server: Server, tmp_path: Path) -> None:
    fetched(server, tmp_path)
    mine = b"my own notes of the same len"[: len(server.files["participants.tsv"])]
    (tmp_path / "participants.tsv").write_bytes(mine)
    with pytest.raises(CoSpineError, match="differ") as caught:
        fetched(server, tmp_path)
    assert "participants.tsv" in str(caught.value)
    assert (tmp_path / "participants.tsv").read_bytes() == mine
    fetched(server, tmp_path, force=True)
    assert tree(tmp_path) == server.files


def test_a_disk_too_small_is_told_before(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage._replace(free=500_000))
    with pytest.raises(CoSpineError, match="too small"):
        fetched(server, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert server.requests == []


def test_unknown_participants_and_patterns_name_what_there_is(server: Server) -> None:
    with pytest.raises(CoSpineError, match="sub-01, sub-02"):
        listed(server, Choice(participants=("sub-77",)))
    with pytest.raises(CoSpineError, match="--include meg"):
        listed(server, Choice(include=("meg/*",)))


def test_files_without_an_address_and_names_that_fold(server: Server) -> None:
    server.change = lambda tree, listing: [{"id": "x", "filename": "a", "size": 3, "urls": ["ftp://x/a"]}]
    with pytest.raises(CoSpineError, match="no address"):
        listed(server)
    both = [{"id": "x", "filename": name, "size": 0, "urls": []} for name in ("README", "readme")]
    server.change = lambda tree, listing: both
    with pytest.raises(CoSpineError, match="case"):
        listed(server)


def test_a_link_into_nothing_counts_as_different(server: Server, tmp_path: Path) -> None:
    """A datalad clone: the link is the user's, and is not replaced unasked."""
    os.symlink(".git/annex/objects/nothing", tmp_path / "participants.tsv")
    with pytest.raises(CoSpineError, match="differ"):
        fetched(server, tmp_path)


def test_parts_of_other_versions_do_not_meet(tmp_path: Path) -> None:
    old, new = (RemoteFile("a", 10, key, ()) for key in ("one", "two"))
    assert part_of(tmp_path / "a", old) != part_of(tmp_path / "a", new)


@given(st.lists(st.sampled_from(["sub-01", "sub-02", "anat", "derivatives", "*", "?", "a.nii"]), min_size=1, max_size=4))
def test_no_folder_is_passed_by_that_holds_something_wanted(parts: Sequence[str]) -> None:
    choice = Choice(include=("/".join(parts),))
    paths = ["sub-01/anat/a.nii", "sub-02/anat/a.nii", "derivatives/sub-01/anat/a.nii", "sub-01/a.nii"]
    for path in paths:
        if choice.takes(path):
            folders = path.split("/")[:-1]
            assert all(choice.enters("/".join(folders[: n + 1])) for n in range(len(folders)))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (240e6, "240 MB"), (12.3e12, "12300 GB")]
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
