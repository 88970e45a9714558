"""The official BIDS validator, as a process of its own; its findings come into the one table."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cospine.bids import Finding, finding

_PROGRAM = "bids-validator-deno"
_MODULE = "bids_validator_deno"
_LIMIT_S = 600.0
_PERSON = re.compile(r"sub-[a-zA-Z0-9+]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s")
_LONGEST = 240  # characters of what the validator says of one issue
_CODES = {"error": "validator-error", "warning": "validator-warning"}
_INSTALL = "pip install cospine[validator]"


def check_with_validator(root: Path) -> Iterator[Finding]:
    """Run the validator on a dataset; says so where it cannot be run.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    """
    command = _command()
    if command is None:
        yield _not_run("it is not installed", _INSTALL)
        return
    environment = {**os.environ, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            [*command, str(root), "--format", "json"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, env=environment, check=False,
        )  # fmt: skip
        if not done.stdout.strip():
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ValueError(last[0] if last else f"exit status {done.returncode}")
        content = json.loads(done.stdout)
        issues, meanings = content["issues"]["issues"], content["issues"]["codeMessages"]
    except subprocess.TimeoutExpired:
        yield _not_run(f"it took more than {_LIMIT_S / 60:.0f} minutes", "Run it by hand.")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield _not_run(f"it gave no list of issues ({error})", f"Run {_PROGRAM} by hand to see why.")
        return
    yield from _findings(issues, meanings if isinstance(meanings, dict) else {})


def _command() -> list[str] | None:
    """The program beside this Python, else on PATH, else the module's own."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which(_PROGRAM, path=os.pathsep.join((beside, os.environ.get("PATH", ""))))
    if program is not None:
        return [program]
    if importlib.util.find_spec(_MODULE) is not None:
        return [sys.executable, "-c", f"import sys, {_MODULE}; sys.exit({_MODULE}.cli())"]
    return None


def _not_run(why: str, remedy: str) -> Finding:
    return finding("validator-absent", None, (), f"the official BIDS validator was not run: {why}", remedy)


def _findings(issues: Sequence[Mapping[str, Any]], meanings: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each kind of issue, with all its files."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in issues:
        severity = str(one.get("severity", "warning"))
        if severity in _CODES:
            groups.setdefault((severity, str(one.get("code", "")), str(one.get("subCode") or "")), []).append(one)
    for (severity, code, key), members in groups.items():
        files = list(dict.fromkeys(str(one.get("location", "")).strip("/") for one in members if one.get("location")))
        people = {match[0] for file in files if (match := _PERSON.match(file))}
        meaning = " ".join(str(meanings.get(code, "")).split())
        told = next((str(one["issueMessage"]).strip() for one in members if one.get("issueMessage")), "")
        told = _SENTENCE.split(" ".join(told.split()), maxsplit=1)[0][:_LONGEST]
        text = " ".join(part for part in (f"{code}{f' {key}' if key else ''}:", meaning, told) if part)
        yield finding(
            _CODES[severity],
            people.pop() if len(people) == 1 and all(_PERSON.match(file) for file in files) else None,
            files,
            text.rstrip("."),
            str(members[0].get("suggestion") or "See the BIDS specification."),
        )
