"""A server to fetch from, with a small dataset."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from openneuro_server import Handler, Server


@pytest.fixture
def server() -> Iterator[Server]:
    """Two people, one derivative, and files of the root."""
    content = {
        "dataset_description.json": b'{"Name": "x"}',
        "participants.tsv": b"participant_id\nsub-01\nsub-02\n",
        "empty.txt": b"",
        "derivatives/masks/sub-01/mask.nii.gz": b"m" * 700,
        "derivatives/masks/sub-02/mask.nii.gz": b"n" * 800,
    }
    for n in (1, 2):
        content[f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz"] = bytes([n]) * 5000
        content[f"sub-0{n}/func/sub-0{n}_task-pain_bold.nii.gz"] = bytes(range(256)) * 4000 + bytes([n])
        content[f"sub-0{n}/func/sub-0{n}_task-pain_bold.json"] = b'{"RepetitionTime": 2.68}'
    state = Server(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.state = state  # pyright: ignore[reportAttributeAccessIssue]
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield state
        http.shutdown()
        thread.join()
