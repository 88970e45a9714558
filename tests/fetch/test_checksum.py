"""Checksums: of git-annex, of git, and of the server."""

import hashlib
from pathlib import Path

import pytest
from openneuro_server import annex_key, git_blob

from cospine.fetch.checksum import Mismatch, check_file
from cospine.fetch.openneuro import RemoteFile


@pytest.mark.parametrize("identity", ["key", "blob", "blob:path", "etag"])
def test_each_kind_of_checksum_tells_right_from_wrong(tmp_path: Path, identity: str) -> None:
    content, path = b"some bytes", "sub-01/x.tsv"
    (tmp_path / "right").write_bytes(content)
    (tmp_path / "wrong").write_bytes(b"some bytez")
    (tmp_path / "short").write_bytes(b"some")
    name = {
        "key": annex_key(content, ".tsv"),
        "blob": git_blob(content),
        "blob:path": hashlib.sha1(f"{git_blob(content)}:{path}".encode()).hexdigest(),
        "etag": "opaque",
    }[identity]
    etag = f'"{hashlib.md5(content).hexdigest()}"' if identity == "etag" else None
    remote = RemoteFile(path, len(content), name, ())
    assert check_file(tmp_path / "right", remote, etag) == "checksum"
    assert isinstance(check_file(tmp_path / "wrong", remote, etag), Mismatch)
    assert isinstance(check_file(tmp_path / "short", remote, etag), Mismatch)


def test_git_hash_is_git_s_own(tmp_path: Path) -> None:
    """`printf 'test content\\n' | git hash-object --stdin`, from the book of git."""
    (tmp_path / "x").write_bytes(b"test content\n")
    remote = RemoteFile("x", 13, "d670460b4b4aece5915caf5c68d12f560a9fe3e4", ())
    assert check_file(tmp_path / "x", remote) == "checksum"
