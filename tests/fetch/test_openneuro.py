"""What a snapshot holds, from a server that speaks OpenNeuro's protocol, sensibly or not."""

from pathlib import Path
from typing import Any

import pytest
from openneuro_server import DATASET, Server, fetched, listed, tree

from cospine.errors import CoSpineError
from cospine.fetch.download import new_session
from cospine.fetch.openneuro import ATTEMPTS, Client
from cospine.fetch.plan import Choice


def test_folders_of_others_are_not_even_listed(server: Server) -> None:
    listed(server, Choice(participants=("sub-02",)))
    asked = "".join(server.queries)
    assert b"sub-02/func".hex() in asked
    assert b"sub-01".hex() not in asked


def test_the_interface_is_asked_again_when_busy(server: Server) -> None:
    server.faults["graphql"] = [("status", 502), ("status", 429)]
    assert {one.path for one in listed(server)} == set(server.files)


def test_an_interface_that_stays_busy_or_senseless_ends(server: Server) -> None:
    server.faults["graphql"] = [("status", 502)] * 50
    with pytest.raises(CoSpineError, match="502"):
        listed(server)
    assert len(server.faults["graphql"]) == 50 - ATTEMPTS
    server.faults["graphql"] = [("text",)]
    with pytest.raises(CoSpineError, match="no JSON"):
        listed(server)


@pytest.mark.parametrize(
    ("dataset", "tag", "where"),
    [("ds999999", None, "ds999999"), ("pain", None, "pain"), (DATASET, "9.9.9", "--tag 9.9.9"), (DATASET, 'x"', "--tag")],
)
def test_unknown_datasets_and_versions(server: Server, dataset: str, tag: str | None, where: str) -> None:
    with new_session() as session, pytest.raises(CoSpineError) as caught:
        Client(session, server.endpoint, pause_s=0).snapshot(dataset, tag)
    assert where in caught.value.where
    assert caught.value.remedy
    if tag == "9.9.9":
        assert "1.0.0, 1.1.0" in caught.value.remedy


def test_no_network(tmp_path: Path) -> None:
    with new_session() as session, pytest.raises(CoSpineError, match="cannot be reached"):
        Client(session, "http://127.0.0.1:9/graphql", pause_s=0).snapshot(DATASET)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b", "a/../../b", ".git", ".GIT", ".git.", "x\ny", "", ".", "con:x"])
def test_a_listing_cannot_lead_out_of_the_folder(server: Server, name: str) -> None:
    server.change = lambda tree, listing: [*listing, {"id": "x", "filename": name, "size": 1, "urls": ["http://x/"]}]
    with pytest.raises(CoSpineError, match="listing holds"):
        listed(server)


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "x", "filename": "a", "size": None},
        {"id": "x", "filename": "a", "size": -1},
        {"id": "x", "filename": "a", "size": True},
        {"id": None, "filename": "a", "directory": True},
        {"id": 'x") { evil', "filename": "a", "directory": True},
        {"id": "x"},
    ],
)
def test_a_listing_that_makes_no_sense(server: Server, entry: dict[str, Any]) -> None:
    server.change = lambda tree, listing: [entry]
    with pytest.raises(CoSpineError, match="listing holds"):
        listed(server)


def test_folders_without_end(server: Server) -> None:
    server.change = lambda tree, listing: [{"id": "61", "filename": "a", "directory": True}]
    with pytest.raises(CoSpineError, match="deep"):
        listed(server)


def test_sizes_as_text_and_names_with_their_folder(server: Server, tmp_path: Path) -> None:
    """BigInt may come as text, and a folder's listing may name its files from the root."""

    def as_text(tree: str, listing: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**one, "size": str(one["size"]), "filename": f"{tree}/{one['filename']}" if tree else one["filename"]}
            for one in listing
        ]

    server.change = as_text
    fetched(server, tmp_path)
    assert tree(tmp_path) == server.files
