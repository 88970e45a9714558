"""Fetching files: each grows under a hidden name, goes on where it stopped, and gets its own name when it has been checked."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cospine import __version__
from cospine.errors import CoSpineError
from cospine.fetch.checksum import Mismatch, Proof, check_file
from cospine.fetch.openneuro import ATTEMPTS, RETRIED, TIMEOUT_S, RemoteFile
from cospine.fetch.plan import Plan, part_of

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 16  # at most this much is lost where a connection breaks


@dataclass(frozen=True)
class Fetched:
    """What came of one file: how it was checked, or why it is not here."""

    file: RemoteFile
    proof: Proof | None
    error: str = ""


class _AgainError(Exception):
    """A failure that may pass."""


class _RefusedError(Exception):
    """A failure that will not pass at this address."""


def new_session() -> "requests.Session":
    """A session that asks for bytes as they are stored: a compressed answer has neither the size nor the ranges."""
    import requests

    session = requests.Session()
    session.headers.update({"User-Agent": f"CoSpine/{__version__}", "Accept-Encoding": "identity"})
    return session


def fetch_all(
    plan: Plan, *, jobs: int = 4, pause_s: float = 1.0, progress: Callable[[int], None] = lambda _: None
) -> list[Fetched]:
    """Fetch what is missing.

    Parameters
    ----------
    plan : Plan
    jobs : int
        Files at a time.
    pause_s : float
        Before the second attempt at a file; doubled before each further one.
    progress : callable
        Told of bytes as they come; negative when some are thrown away. Called from several threads.

    Returns
    -------
    list of Fetched
        In the order of the plan. One that failed does not stop the others, but a full disk does.

    Raises
    ------
    CoSpineError
        When the disk cannot be written to.
    """
    stop = threading.Event()
    local = threading.local()

    def one(remote: RemoteFile) -> Fetched:
        if stop.is_set():
            return Fetched(remote, None, "not begun")
        if not hasattr(local, "session"):
            local.session = new_session()
        return _fetch(local.session, remote, plan.target / remote.path, stop, pause_s, progress)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures = [pool.submit(one, remote) for remote in plan.missing]
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except OSError as error:
            stop.set()
            what = f"cannot be written ({error.strerror or error})"
            remedy = "check free space and permissions, then run the same command again: it goes on where it stopped"
            raise CoSpineError(what, str(error.filename or plan.target), remedy) from error
        except BaseException:
            stop.set()  # parts stay, to go on from
            raise
    return [future.result() for future in futures]


def _fetch(
    session: "requests.Session",
    remote: RemoteFile,
    path: Path,
    stop: threading.Event,
    pause_s: float,
    progress: Callable[[int], None],
) -> Fetched:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path, remote)
    if not remote.size_bytes:
        part.write_bytes(b"")
        found = check_file(part, remote)
        if isinstance(found, Mismatch):
            part.unlink()
            return Fetched(remote, None, f"is listed as empty but is not ({found.reason}); a link inside the dataset?")
        os.replace(part, path)
        return Fetched(remote, found)
    reason, urls = "", list(remote.urls)
    for attempt in range(ATTEMPTS):
        if stop.is_set():
            return Fetched(remote, None, "not finished")
        if attempt:
            stop.wait(pause_s * 2 ** (attempt - 1))
        url = urls[attempt % len(urls)]
        try:
            etag = _grow(session, url, remote, part, stop, progress)
        except _AgainError as error:
            reason = str(error)
            continue
        except _RefusedError as error:
            reason = str(error)
            urls.remove(url)
            if not urls:
                return Fetched(remote, None, reason)
            continue
        found = check_file(part, remote, etag)
        if isinstance(found, Mismatch):
            reason = f"wrong checksum: {found.reason}"
            progress(-part.stat().st_size)
            part.unlink()
            continue
        _sync(part)
        os.replace(part, path)
        return Fetched(remote, found)
    return Fetched(remote, None, f"{reason} ({ATTEMPTS} attempts)")


def _grow(
    session: "requests.Session",
    url: str,
    remote: RemoteFile,
    part: Path,
    stop: threading.Event,
    progress: Callable[[int], None],
) -> str | None:
    """Bring a part to its full size; the server's ETag is returned, where it said one."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    if have > remote.size_bytes:
        progress(-have)
        part.unlink()
        have = 0
    if have == remote.size_bytes:
        return None
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == 416:  # the server has less than that: begin anew
                progress(-have)
                part.unlink(missing_ok=True)
                raise _AgainError("the server has no such range")
            if answer.status_code not in (200, 206):
                if answer.status_code in RETRIED:
                    raise _AgainError(f"HTTP {answer.status_code}")
                raise _RefusedError(f"the server refuses it (HTTP {answer.status_code})")
            if have and not _goes_on(answer, have):
                progress(-have)
                have = 0
            with part.open("ab" if have else "wb") as stream:
                for chunk in answer.iter_content(_CHUNK):
                    have += len(chunk)
                    if have > remote.size_bytes:
                        break
                    stream.write(chunk)
                    progress(len(chunk))
                    if stop.is_set():
                        raise _AgainError("stopped")
            etag = answer.headers.get("ETag")
    except requests.RequestException as error:
        raise _AgainError(f"connection lost ({type(error).__name__})") from error
    if have > remote.size_bytes:
        progress(-part.stat().st_size)
        part.unlink()
        raise _AgainError(f"the server sends more than {remote.size_bytes} bytes")
    if have < remote.size_bytes:
        raise _AgainError(f"ended after {have} of {remote.size_bytes} bytes")
    return etag


def _goes_on(answer: "requests.Response", have: int) -> bool:
    """Whether an answer begins at the byte that was asked for."""
    return answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def failures(results: Sequence[Fetched]) -> list[Fetched]:
    """Those that are not here."""
    return [one for one in results if one.proof is None]
