"""A small server on this machine that speaks OpenNeuro's protocol, and can be told to fail."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cospine.fetch.download import Fetched, fetch_all, new_session
from cospine.fetch.openneuro import Client, RemoteFile
from cospine.fetch.plan import Choice, choose, make_plan

DATASET = "ds005883"
BOLD = "sub-01/func/sub-01_task-pain_bold.nii.gz"


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def annex_key(content: bytes, ending: str = ".nii.gz") -> str:
    return f"SHA256E-s{len(content)}--{hashlib.sha256(content).hexdigest()}{ending}"


@dataclass
class Server:
    """Content, faults and a record of what was asked.

    `faults` maps a path to actions, one taken a request: ("status", code), ("cut", bytes), ("flip",), ("whole",) to ignore a
    range, ("long",) to send too much.
    """

    files: dict[str, bytes]
    tags: tuple[str, ...] = ("1.0.0", "1.1.0")
    identities: dict[str, str] = field(default_factory=dict)
    etags: bool = True
    faults: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    url: str = ""
    change: Any = None

    @property
    def endpoint(self) -> str:
        return f"{self.url}/crn/graphql"

    def identity(self, path: str) -> str:
        content = self.files[path]
        return self.identities.get(path, annex_key(content) if path.endswith(".nii.gz") else git_blob(content))

    def listing(self, tree: str) -> list[dict[str, Any]]:
        """Entries of one folder, each named by itself; a folder's identifier is opaque, as git's is."""
        entries: dict[str, dict[str, Any]] = {}
        for path, content in self.files.items():
            if tree and not path.startswith(f"{tree}/"):
                continue
            name, _, below = path[len(tree) + 1 if tree else 0 :].partition("/")
            if below:
                whole = f"{tree}/{name}" if tree else name
                entries[name] = {"id": whole.encode().hex(), "filename": name, "size": 0, "directory": True, "urls": []}
            else:
                entries[name] = {
                    "id": self.identity(path), "filename": name, "size": len(content), "directory": False,
                    "urls": [f"{self.url}/s3/{path}?versionId=x"],
                }  # fmt: skip
        listing = list(entries.values())
        return listing if self.change is None else self.change(tree, listing)

    def answer(self, query: str) -> dict[str, Any]:
        self.queries.append(query)
        if f'"{DATASET}"' not in query:
            return {"errors": [{"message": "Dataset not found"}], "data": {"dataset": None}}
        if "latestSnapshot" in query:
            tags = [{"tag": tag} for tag in self.tags]
            return {"data": {"dataset": {"id": DATASET, "latestSnapshot": tags[-1], "snapshots": tags}}}
        parts = re.findall(r'(t\d+): snapshot\(datasetId: "\w+", tag: "([^"]+)"\) \{ files(?:\(tree: "(\w+)"\))? \{', query)
        return {"data": {alias: {"files": self.listing(bytes.fromhex(tree).decode())} for alias, _, tree in parts}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        state: Server = self.server.state
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = state.faults.get("graphql", [])
        if fault:
            action = fault.pop(0)
            if action[0] == "status":
                return self._send(action[1], b"busy")
            return self._send(200, b"<html>not JSON</html>")
        return self._send(200, json.dumps(state.answer(json.loads(body)["query"])).encode())

    def do_GET(self) -> None:
        state: Server = self.server.state
        path = self.path.partition("?")[0].removeprefix("/s3/")
        wanted = self.headers.get("Range", "")
        state.requests.append((path, wanted))
        content = state.files[path]
        fault = state.faults.get(path, [])
        action = fault.pop(0) if fault else ("",)
        if action[0] == "status":
            return self._send(action[1], b"")
        if action[0] == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        if action[0] == "long":
            content += b"more"
        start = int(wanted[len("bytes=") : -1]) if wanted and action[0] != "whole" else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if state.etags:
            self.send_header("ETag", f'"{hashlib.md5(state.files[path]).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if action[0] == "cut":
            self.wfile.write(body[: action[1]])
            self.close_connection = True
            return None
        self.wfile.write(body)
        return None

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def listed(server: Server, choice: Choice = Choice(), tag: str | None = None) -> list[RemoteFile]:
    with new_session() as session:
        client = Client(session, server.endpoint, pause_s=0)
        files, folders = client.files(client.snapshot(DATASET, tag), choice.enters)
    return choose(files, folders, choice)


def fetched(server: Server, target: Path, choice: Choice = Choice(), **how: Any) -> list[Fetched]:
    return fetch_all(make_plan(listed(server, choice), target, **how), pause_s=0)


def tree(folder: Path) -> dict[str, bytes]:
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}
