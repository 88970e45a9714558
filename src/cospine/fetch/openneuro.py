"""OpenNeuro's public interface: which snapshots a dataset has, and which files one of them holds.

GraphQL over HTTPS. Files are listed folder by folder, each as a git tree (https://docs.openneuro.org/api.html), several a
request. Only what is wanted is descended into.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cospine.errors import CoSpineError

if TYPE_CHECKING:
    import requests

ENDPOINT = "https://openneuro.org/crn/graphql"
ENDPOINT_VARIABLE = "COSPINE_OPENNEURO_URL"
TIMEOUT_S = (20, 60)
"""For connecting, and for each piece of an answer."""

ATTEMPTS = 5
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_FOLDERS_A_REQUEST = 25
_MOST_REQUESTS = 4000
_DEEPEST = 20
_DATASET = re.compile(r"ds[0-9]{6}")
_TAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")
_TREE = re.compile(r"[0-9A-Za-z._:/=+-]{1,200}")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a snapshot.

    Parameters
    ----------
    path : str
        Relative to the dataset, with `/`.
    size_bytes : int
    identity : str
        git-annex key or hash of git; both follow from the content.
    urls : tuple of str
        Where it can be had, best first.
    """

    path: str
    size_bytes: int
    identity: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset."""

    dataset: str
    tag: str


@dataclass(frozen=True)
class Client:
    """Asks one server, again after failures that pass.

    Parameters
    ----------
    session : requests.Session
    endpoint : str
        Address of the GraphQL interface.
    pause_s : float
        Before the second attempt; doubled before each further one.
    """

    session: "requests.Session"
    endpoint: str = ENDPOINT
    pause_s: float = 1.0

    def snapshot(self, dataset: str, tag: str | None = None) -> Snapshot:
        """Find a version of a dataset, by default the newest.

        Raises
        ------
        CoSpineError
            For a dataset or version that is not there, and without a network.
        """
        if not _DATASET.fullmatch(dataset):
            raise CoSpineError("is no dataset of OpenNeuro", dataset, "give ds and six digits, as ds005883")
        if tag is not None and not _TAG.fullmatch(tag):
            raise CoSpineError("is no version", f"--tag {tag}", "give one as 1.0.0")
        found = self._ask(f'{{ dataset(id: "{dataset}") {{ id latestSnapshot {{ tag }} snapshots {{ tag }} }} }}', dataset)
        about = found.get("dataset")
        if not isinstance(about, dict):
            raise CoSpineError("is not on OpenNeuro, or not public", dataset, "check the number")
        tags = [one["tag"] for one in about.get("snapshots") or () if isinstance(one, dict) and isinstance(one.get("tag"), str)]
        if tag is not None and tag not in tags:
            raise CoSpineError(f"{dataset} has no such version", f"--tag {tag}", f"there are: {', '.join(tags) or 'none'}")
        newest = about.get("latestSnapshot")
        newest = newest.get("tag") if isinstance(newest, dict) else None
        chosen = tag or newest
        if not isinstance(chosen, str) or not _TAG.fullmatch(chosen):
            raise CoSpineError("has no published version", dataset, "wait until its owners publish one")
        return Snapshot(dataset, chosen)

    def files(self, snapshot: Snapshot, wanted: Callable[[str], bool]) -> tuple[list[RemoteFile], list[str]]:
        """List a snapshot.

        Parameters
        ----------
        snapshot : Snapshot
        wanted : callable
            Told each folder, relative and with `/`: whether to look into it.

        Returns
        -------
        files : list of RemoteFile
            Of the root and of all wanted folders, sorted by path.
        folders : list of str
            All folders met, wanted or not.

        Raises
        ------
        CoSpineError
            For a listing that makes no sense, and without a network.
        """
        files: dict[str, RemoteFile] = {}
        folders: list[str] = []
        level: list[tuple[str, str | None]] = [("", None)]
        requests_left = _MOST_REQUESTS
        for _ in range(_DEEPEST):
            below: list[tuple[str, str | None]] = []
            for start in range(0, len(level), _FOLDERS_A_REQUEST):
                requests_left -= 1
                if requests_left < 0:
                    raise CoSpineError("has too many folders to list", snapshot.dataset, "narrow it with --participant")
                batch = level[start : start + _FOLDERS_A_REQUEST]
                for (folder, _tree), listing in zip(batch, self._listings(snapshot, batch), strict=True):
                    for one in listing:
                        path = _path(folder, one, snapshot.dataset)
                        if one.get("directory"):
                            folders.append(path)
                            if wanted(path):
                                below.append((path, _tree_of(one, snapshot.dataset)))
                        else:
                            files[path] = _file(path, one, snapshot.dataset)
            if not below:
                return [files[path] for path in sorted(files)], sorted(folders)
            level = below
        raise CoSpineError(f"holds folders more than {_DEEPEST} deep", snapshot.dataset, "narrow it with --include")

    def _listings(self, snapshot: Snapshot, folders: Sequence[tuple[str, str | None]]) -> list[list[dict[str, Any]]]:
        of = f'snapshot(datasetId: "{snapshot.dataset}", tag: "{snapshot.tag}")'
        at = ["" if tree is None else f'(tree: "{tree}")' for _, tree in folders]
        parts = [f"t{n}: {of} {{ files{where} {{ id filename size directory urls }} }}" for n, where in enumerate(at)]
        found = self._ask(f"{{ {' '.join(parts)} }}", snapshot.dataset)
        listings = []
        for n, (folder, _) in enumerate(folders):
            part = found.get(f"t{n}")
            files = part.get("files") if isinstance(part, dict) else None
            if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
                raise _senseless(f"no listing of {folder or 'its root'}", snapshot.dataset)
            listings.append(files)
        return listings

    def _ask(self, query: str, where: str) -> dict[str, Any]:
        """Send a query; its data."""
        import requests

        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                answer = self.session.post(self.endpoint, json={"query": query}, timeout=TIMEOUT_S)
            except requests.ConnectionError as error:
                reason = _network(error)
                continue
            except requests.Timeout:
                reason = "no answer in time"
                continue
            except requests.RequestException as error:
                raise CoSpineError(f"cannot be asked ({error})", self.endpoint, "check the address") from error
            if answer.status_code in RETRIED:
                reason = f"HTTP {answer.status_code}"
                continue
            return self._data(answer, where)
        remedy = "check the network and its proxy (HTTPS_PROXY), then run the same command again"
        raise CoSpineError(f"cannot be reached: {reason}, {ATTEMPTS} times", self.endpoint, remedy)

    def _data(self, answer: "requests.Response", where: str) -> dict[str, Any]:
        try:
            content = answer.json()
        except ValueError as error:
            what = f"answers HTTP {answer.status_code} and no JSON"
            raise CoSpineError(what, self.endpoint, "check the address, or try later") from error
        errors = content.get("errors") if isinstance(content, dict) else None
        data = content.get("data") if isinstance(content, dict) else None
        if isinstance(data, dict) and any(value is not None for value in data.values()):
            return data
        if isinstance(errors, list) and errors:
            first = errors[0].get("message") if isinstance(errors[0], dict) else errors[0]
            raise CoSpineError(
                f"OpenNeuro refuses: {str(first)[:300]}", where, "check the number; private datasets cannot be fetched"
            )
        if not answer.ok or not isinstance(data, dict):
            raise CoSpineError(f"answers HTTP {answer.status_code} and no data", self.endpoint, "check the address, or try later")
        return data


def _path(folder: str, one: dict[str, Any], dataset: str) -> str:
    """Path of an entry; a listing names it by itself or with its folder, and must not lead out of the dataset."""
    name = one.get("filename")
    if not isinstance(name, str) or not name:
        raise _senseless(f"an entry of {folder or 'its root'} without a name", dataset)
    path = name if folder and name.startswith(f"{folder}/") else f"{folder}/{name}" if folder else name
    parts = path.split("/")
    # some disks know no case, and drop dots and spaces at the end
    unsafe = any(part.rstrip(". ").lower() in ("", ".git") for part in parts) or re.search(r'[\\\x00-\x1f:*?"<>|]', path)
    if unsafe or PurePosixPath(path).is_absolute():
        raise _senseless(f"a path that cannot be written: {path!r}", dataset)
    return path


def _tree_of(one: dict[str, Any], dataset: str) -> str:
    tree = one.get("id")
    if not isinstance(tree, str) or not _TREE.fullmatch(tree):
        raise _senseless(f"a folder without an identifier: {one.get('filename')!r}", dataset)
    return tree


def _file(path: str, one: dict[str, Any], dataset: str) -> RemoteFile:
    size = one.get("size")
    if isinstance(size, str) and re.fullmatch(r"[0-9]{1,18}", size):  # BigInt may come as text
        size = int(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise _senseless(f"no size of {path}", dataset)
    urls = one.get("urls")
    found = [url for url in urls if isinstance(url, str)] if isinstance(urls, list) else []
    usable = tuple(url for url in found if urlsplit(url).scheme in ("http", "https"))
    return RemoteFile(path, size, str(one.get("id") or ""), usable)


def _senseless(what: str, dataset: str) -> CoSpineError:
    return CoSpineError(f"the server's listing holds {what}", dataset, "try later; report it if it stays")


def _network(error: Exception) -> str:
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service not known" in text:
        return "its name is not found, as without a network"
    return "no connection" if "Connection refused" in text or "unreachable" in text else f"no connection ({text[:200]})"
