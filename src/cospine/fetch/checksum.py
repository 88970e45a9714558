"""Whether a file is what the snapshot says: by the checksum in its git-annex key, git's own hash, or the server's MD5."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cospine.fetch.openneuro import RemoteFile

Proof = Literal["checksum", "size"]
_CHUNK = 1 << 20
_ANNEX = re.compile(r"(SHA256|SHA512|SHA384|SHA224|SHA1|MD5)E?-s([0-9]+)--([0-9a-f]{32,128})(\.[^/]*)?")
_GIT = re.compile(r"[0-9a-f]{40}")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True)
class Mismatch:
    """A file that is not what it should be."""

    reason: str


def check_file(path: Path, remote: RemoteFile, etag: str | None = None) -> Proof | Mismatch:
    """Compare a file with what the snapshot says of it.

    Parameters
    ----------
    path : Path
    remote : RemoteFile
        A git-annex key carries the checksum of the content. A hash of git is that of the blob, or on older servers of
        `blob:path`.
    etag : str, optional
        Header of the server's answer: an object that was stored in one part has its MD5 there.

    Returns
    -------
    "checksum", "size" or Mismatch
        `size` where nothing else is known of it.
    """
    size = path.stat().st_size
    if size != remote.size_bytes:
        return Mismatch(f"{size} bytes where {remote.size_bytes} are due")
    annex = _ANNEX.fullmatch(remote.identity)
    if annex:
        algorithm = annex[1].lower()
        found = _digests(path, {algorithm: hashlib.new(algorithm, usedforsecurity=False)})[algorithm]
        return "checksum" if found == annex[3] else Mismatch(f"{annex[1]} is {found[:12]}.., {annex[3][:12]}.. is due")
    md5 = _MD5.fullmatch(etag or "")
    git = _GIT.fullmatch(remote.identity)
    if not md5 and not git:
        return "size"
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    digests = _digests(path, {"git": blob, "md5": hashlib.md5(usedforsecurity=False)})
    of_path = hashlib.sha1(f"{digests['git']}:{remote.path}".encode(), usedforsecurity=False).hexdigest()
    if (git and remote.identity in (digests["git"], of_path)) or (md5 and digests["md5"] == md5[1]):
        return "checksum"
    due = f"git's hash {remote.identity[:12]}.." if git else f"MD5 {md5[1][:12] if md5 else ''}.."
    return Mismatch(f"{due} is due, {digests['git' if git else 'md5'][:12]}.. is there")


def _digests(path: Path, hashers: dict[str, "hashlib._Hash"]) -> dict[str, str]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            for hasher in hashers.values():
                hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}
