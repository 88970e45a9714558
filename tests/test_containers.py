"""The container files, linted: no engine is here to build them, so what hadolint asks for is asked for in code."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Instruction(NamedTuple):
    word: str
    text: str


def instructions(dockerfile: str) -> list[Instruction]:
    """Instructions of a Dockerfile, comments left out and lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def faults(dockerfile: str) -> set[str]:
    """What is wrong with a Dockerfile, named after hadolint's rules or, where it has none, in words."""
    found: set[str] = set()
    steps = instructions(dockerfile)
    stages: set[str] = set()
    for word, text in steps:
        if word == "FROM":
            image, _, stage = text.partition(" AS ")
            name, _, tag = image.partition(":")
            if name not in stages and not tag:
                found.add("DL3006 image without a tag")
            if tag.split("@")[0] == "latest":
                found.add("DL3007 latest")
            stages.add(stage)
        if word == "ADD":
            found.add("DL3020 ADD")
        if word == "MAINTAINER":
            found.add("DL4000 MAINTAINER")
        if word == "WORKDIR" and not text.startswith("/"):
            found.add("DL3000 relative WORKDIR")
        if word in ("ENTRYPOINT", "CMD") and not text.startswith("["):
            found.add("DL3025 no JSON")
        if word == "COPY" and len(text.split()) > 2 and "--from" not in text and not text.endswith("/"):
            found.add("DL3021 several to no folder")
        if word == "RUN":
            found |= _faults_of_run(text)
    last = steps[_last_from(steps) :]
    users = [text for word, text in last if word == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.add("DL3002 last user is root")
    if sum(word == "ENTRYPOINT" for word, _ in last) != 1:
        found.add("DL4004 not one ENTRYPOINT")
    if sum(word == "FROM" for word, _ in steps) < 2:
        found.add("one stage alone")
    return found


def _last_from(steps: list[Instruction]) -> int:
    return max((number for number, step in enumerate(steps) if step.word == "FROM"), default=0)


def _faults_of_run(text: str) -> set[str]:
    found: set[str] = set()
    commands = [command.strip() for command in re.split(r"&&|;|\|", text)]
    for command in commands:
        if command.startswith("cd "):
            found.add("DL3003 cd")
        if re.match(r"(sudo|ssh|vim|shutdown|service|ps|free|top|kill|mount)\b", command):
            found.add("DL3001, DL3004 command of no use here")
        if re.match(r"(curl|wget|git clone)\b", command):
            found.add("something fetched without a hash")
        if re.match(r"apt\s", command) or re.match(r"apt-get (dist-)?upgrade", command):
            found.add("DL3027, DL3005 apt")
        if command.startswith("apt-get install"):
            packages = [word for word in command.split()[2:] if not word.startswith("-")]
            if not {"--yes", "-y"} & set(command.split()):
                found.add("DL3014 no --yes")
            if "--no-install-recommends" not in command:
                found.add("DL3015 recommended packages")
            if any("=" not in package for package in packages):
                found.add("DL3008 package without a version")
            if "apt-get update" not in commands:
                found.add("install without an update")
            if "rm -rf /var/lib/apt/lists/*" not in commands[commands.index(command) :]:
                found.add("DL3009 lists of apt left")
        if re.search(r"\bpip3? install\b", command):
            local = "--no-deps" in command and command.endswith(" .")
            if not local and not ("--require-hashes" in command and "-r lock/run.txt" in command):
                found.add("DL3013 package not locked")
    return found


GOOD = """\
FROM python:3.11.14-slim AS build
RUN pip install --require-hashes -r lock/run.txt
FROM python:3.11.14-slim
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1=12.* && rm -rf /var/lib/apt/lists/*
USER someone
ENTRYPOINT ["cospine"]
"""


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("FROM python:3.11.14-slim\n", "FROM python\n", "DL3006"),
        ("3.11.14-slim AS", "latest AS", "DL3007"),
        ("USER someone", "USER someone\nADD src src", "DL3020"),
        ("USER someone", "WORKDIR work\nUSER someone", "DL3000"),
        ("USER someone", "USER someone\nCOPY a b c", "DL3021"),
        ("USER someone\n", "", "DL3002"),
        ("USER someone", "USER 0:0", "DL3002"),
        ("FROM python:3.11.14-slim\n", "USER someone\n", "one stage"),
        (' ["cospine"]', " cospine", "DL3025"),
        ('ENTRYPOINT ["cospine"]', "", "DL4004"),
        ("--yes ", "", "DL3014"),
        ("--no-install-recommends ", "", "DL3015"),
        ("libgomp1=12.*", "libgomp1", "DL3008"),
        (" && rm -rf /var/lib/apt/lists/*", "", "DL3009"),
        ("apt-get update && ", "", "install without an update"),
        ("RUN apt-get", "RUN curl -O address && apt-get", "something fetched"),
        ("RUN apt-get", "RUN cd /tmp && apt-get", "DL3003"),
        ("--require-hashes ", "", "DL3013"),
        ("-r lock/run.txt", "numpy", "DL3013"),
    ],
)
def test_each_rule_can_fail(right: str, wrong: str, fault: str) -> None:
    assert faults(GOOD) == set()
    assert right in GOOD
    assert any(found.startswith(fault) for found in faults(GOOD.replace(right, wrong)))


def test_the_dockerfile_breaks_no_rule() -> None:
    assert faults((ROOT / "Dockerfile").read_text()) == set()


def test_the_image_reaches_for_no_network_and_writes_where_any_user_may() -> None:
    steps = instructions((ROOT / "Dockerfile").read_text())
    last = steps[_last_from(steps) :]
    variables = dict(pair.split("=", 1) for word, text in last if word == "ENV" for pair in text.split())
    assert variables["COSPINE_OFFLINE"] == "1"
    folder = re.search(r"install --directory --mode=1777 (\S+)", " ".join(text for word, text in last if word == "RUN"))
    assert folder
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert Path(variables[name]).is_relative_to(folder[1])


def test_what_is_copied_is_there_and_not_ignored() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        text.split()[:-1]
        for word, text in instructions((ROOT / "Dockerfile").read_text())
        if word == "COPY" and "--from" not in text
    ]
    sources = {source for group in copied for source in group}
    assert sources == admitted
    assert all((ROOT / source).exists() for source in sources)


def test_apptainer_takes_the_same_steps() -> None:
    definition = (ROOT / "apptainer.def").read_text()
    steps = instructions((ROOT / "Dockerfile").read_text())
    images = [text.partition(" AS ")[0] for word, text in steps if word == "FROM"]
    assert re.findall(r"^From: (.+)$", definition, re.MULTILINE) == images
    commands = [line.strip() for line in definition.splitlines()]
    for word, text in steps:
        if word != "RUN" or re.match(r"useradd|install ", text):  # it runs as its caller, and cannot be written to
            continue
        for command in text.split("&&"):
            assert " ".join(command.split()) in commands
    assert "export COSPINE_OFFLINE=1" in commands
    for line in re.findall(r"^    (\S+) /build/\S+$", definition, re.MULTILINE):
        assert (ROOT / line).exists()
