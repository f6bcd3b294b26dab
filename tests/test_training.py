"""Training scripts and inference config, made from a stand-in checkout: shells accept them, and they name only what is there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from graspgen_cli.app import main
from graspgen_cli.grippers.export import write_graspgen_config
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.training.scripts import GUIDE_RATIO, assigned, with_values
from made_datasets import make_dataset
from stand_in_checkout import RATIO, make_checkout, make_run

GRIPPER = "robotiq_2f_85"
Streams = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def gripper_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `gripper-config` writes."""
    folder = tmp_path_factory.mktemp("grippers")
    write_graspgen_config(load_gripper(GRIPPER), folder, overwrite=False)
    return folder


@pytest.fixture
def ready(tmp_path: Path, gripper_files: Path) -> Path:
    """All that training needs: checkout, gripper config, dataset with splits, meshes, a folder for results."""
    checkout = make_checkout(tmp_path / "code", "franka_panda", "robotiq_2f_140")
    shutil.copytree(gripper_files, checkout / "config" / "grippers", dirs_exist_ok=True)
    make_dataset(tmp_path / "data", ["a.obj", "b.obj", "c.obj"])
    for name in ("meshes", "results"):
        (tmp_path / name).mkdir()
    for name in ("a.obj", "b.obj", "c.obj"):
        (tmp_path / "meshes" / name).write_text("v 0 0 0\n")
    return tmp_path


def write(ready: Path, *flags: str, code: int = 0) -> dict[str, str]:
    """Runs the command; the scripts' texts by role."""
    folders = ["--graspgen-source", "code", "--grasp-dataset", "data", "--object-dataset", "meshes", "--training-results", "results"]
    where = [str(ready / word) if word in ("code", "data", "meshes", "results") else word for word in folders]
    assert main(["training-scripts", "--quiet", *where, *flags]) == code
    paths = {role: ready / "code" / "runs" / f"train_graspgen_{GRIPPER}_{role}.sh" for role in ("gen", "dis")}
    return {role: path.read_text() for role, path in paths.items() if path.exists()}


def test_a_shell_accepts_them(ready: Path) -> None:
    write(ready)
    for path in (ready / "code" / "runs").glob(f"*{GRIPPER}*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        subprocess.run(["bash", "-n", path], check=True)
        if shutil.which("shellcheck") is None:
            pytest.skip("shellcheck is not installed")
        subprocess.run(["shellcheck", path], check=True)


def test_they_name_only_what_is_there(ready: Path) -> None:
    """Run with a python that only writes its arguments down: every path among them exists, and nothing else has changed."""
    write(ready)
    tools = ready / "tools"
    tools.mkdir()
    (tools / "python").write_text('#!/bin/sh\npwd > "$RECORD"\nprintf "%s\\n" "$@" >> "$RECORD"\n')
    (tools / "python").chmod(0o755)
    for role, model in (("gen", "diffusion"), ("dis", "discriminator")):
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "RECORD": str(ready / role)}
        subprocess.run([ready / "code" / "runs" / f"train_graspgen_{GRIPPER}_{role}.sh"], env=environment, check=True)
        folder, program, *arguments = (ready / role).read_text().splitlines()
        assert (Path(folder) / program).is_file()
        values = dict(argument.split("=", 1) for argument in arguments)
        paths = [value for value in values.values() if value.startswith("/")]
        assert len(paths) == 4
        assert all(Path(path).exists() for path in paths)
        assert values["data.grasp_root_dir"] == str(ready / "data" / "grasp_data" / GRIPPER)
        assert values["data.root_dir"] == str(ready / "data" / "splits" / GRIPPER)
        assert (values["data.gripper_name"], values["train.save_freq"], values["train.num_epochs"]) == (GRIPPER, "100", "7")
        assert values["train.model_name"] == model


def test_only_what_is_asked_for_changes(ready: Path) -> None:
    made = write(ready, "--save-freq", "50", "--template-gripper", "franka_panda", "--container-paths")
    for role, text in made.items():
        before = (ready / "code" / "runs" / f"train_graspgen_franka_panda_{role}.sh").read_text()
        changed = {line.partition("=")[0].removeprefix("export ") for line in set(text.splitlines()) ^ set(before.splitlines())}
        assert changed == {"SAVE_FREQ", "GRIPPER_NAME", "GRASP_DATASET_DIR", "SPLIT_DATASET_DIR"}
        assert assigned(text)["CODE_DIR"] == "/code"


def test_the_ratio_follows_the_grippers_mesh(ready: Path, capsys: Streams) -> None:
    assert assigned(write(ready)["dis"])["RATIO"] == RATIO
    assert "has a real collision mesh" in capsys.readouterr().out
    assert assigned(write(ready, "--discriminator-ratio", "guide", "--overwrite-scripts")["dis"])["RATIO"] == GUIDE_RATIO
    (ready / "code" / "config" / "grippers" / f"{GRIPPER}.obj").write_text("# empty, as the replaced tool leaves it\n")
    assert assigned(write(ready, "--overwrite-scripts")["dis"])["RATIO"] == GUIDE_RATIO
    assert "none that is known to be real" in capsys.readouterr().out
    assert assigned(write(ready, "--discriminator-ratio", "original", "--overwrite-scripts")["dis"])["RATIO"] == RATIO


def test_nothing_is_overwritten_unasked(ready: Path, capsys: Streams) -> None:
    mine = ready / "code" / "runs" / f"train_graspgen_{GRIPPER}_gen.sh"
    mine.write_text("# mine\n")
    assert write(ready)["gen"] == "# mine\n"
    assert "differs: " in capsys.readouterr().out
    assert write(ready, "--overwrite-scripts")["gen"] != "# mine\n"
    again = write(ready)
    assert "kept: " in capsys.readouterr().out
    assert again == write(ready)


def test_all_that_is_missing_is_named_at_once_and_nothing_written(ready: Path, capsys: Streams) -> None:
    (ready / "code" / "config" / "grippers" / f"{GRIPPER}.yaml").unlink()
    (ready / "code" / "scripts" / "train_graspgen.py").unlink()
    (ready / "meshes" / "b.obj").unlink()
    (ready / "results").rmdir()
    assert write(ready, code=3) == {}
    err = capsys.readouterr().err
    expected = (
        f"{GRIPPER}.yaml: no such file",
        "train_graspgen.py: no such file",
        "no mesh of 1 of 3 listed objects, such as b.obj",
        "results: no",
    )
    assert all(text in err for text in expected)


def test_meshes_found_by_uuid(ready: Path) -> None:
    (ready / "meshes" / "b.obj").rename(ready / "meshes" / "elsewhere.obj")
    (ready / "meshes" / "map_uuid_to_path.json").write_text('{"b.obj": "elsewhere.obj"}')
    assert set(write(ready)) == {"gen", "dis"}


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("code/runs", "no training scripts of another gripper"),
        ("data/splits", "train.txt: no such file"),
        ("data/grasp_data", "no grasps"),
    ],
)
def test_what_is_needed(ready: Path, folder: str, message: str, capsys: Streams) -> None:
    shutil.rmtree(ready / folder)
    assert write(ready, code=3) == {}
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"python train_graspgen.py", "does not set"), (b"X=1", "runs no Python program"), (b"\xff", "cannot be read")],
)
def test_scripts_that_cannot_be_adapted(ready: Path, text: bytes, message: str, capsys: Streams) -> None:
    (ready / "code" / "runs" / "train_graspgen_robotiq_2f_140_dis.sh").write_bytes(text)
    assert write(ready, code=3) == {}
    assert message in capsys.readouterr().err


def test_folders_that_would_break_the_scripts(ready: Path, capsys: Streams) -> None:
    """GraspGen's scripts remove $LOG_DIR without quotes: a space in the path would remove something else."""
    (ready / "my results").mkdir()
    assert write(ready, "--training-results", str(ready / "my results"), code=3) == {}
    assert "without quotes" in capsys.readouterr().err
    with pytest.raises(ValueError, match="without quotes"):
        with_values("A=1\n", {"A": "1; rm -rf /"})


# --- inference ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkout and the runs of both models."""
    make_checkout(tmp_path / "code")
    for role in ("gen", "dis"):
        make_run(tmp_path / "results", GRIPPER, role)
    return tmp_path


def join(trained: Path, *flags: str, code: int = 0) -> Path:
    where = ["--graspgen-source", str(trained / "code"), "--training-results", str(trained / "results")]
    assert main(["inference-config", "--quiet", *where, *flags]) == code
    return trained / "results" / "logs" / f"{GRIPPER}_inference.yaml"


def test_the_joined_config_is_what_graspgen_loads(trained: Path, capsys: Streams) -> None:
    """Checked as its loader does: checkpoints beside the config's folder, one gripper in three places."""
    path = join(trained)
    config = yaml.safe_load(path.read_text())
    assert config["eval"]["model_name"] == "diffusion-discriminator"
    assert config["diffusion"]["num_diffusion_iters"] == 10  # the generator's
    assert config["data"]["num_points"] == 2048  # the discriminator's
    assert (path.parent / config["eval"]["checkpoint"]).resolve().parent.name == f"{GRIPPER}_gen_test"
    assert (path.parent / config["discriminator"]["checkpoint"]).resolve().parent.name == f"{GRIPPER}_dis_test"
    assert all((path.parent / name).is_file() for name in (config["eval"]["checkpoint"], config["discriminator"]["checkpoint"]))
    assert {config[part]["gripper_name"] for part in ("data", "diffusion", "discriminator")} == {GRIPPER}
    assert config["eval"]["task"] == "pick" and config["discriminator"]["kappa"] == 3.3
    demo = capsys.readouterr().out.splitlines()[1]
    assert demo.startswith(f"next:  cd {trained / 'code'} && python scripts/demo_object_mesh.py") and demo.endswith(
        f"--gripper_config {path}"
    )


def test_a_config_that_differs_is_kept(trained: Path, capsys: Streams) -> None:
    path = join(trained)
    path.write_text("mine")
    join(trained)
    assert path.read_text() == "mine"
    assert "differs: " in capsys.readouterr().out
    join(trained, "--overwrite-inference-config")
    assert path.read_text() != "mine"


def test_other_places_and_checkpoints(trained: Path) -> None:
    runs = trained / "results" / "logs"
    (runs / f"{GRIPPER}_gen_test").rename(trained / "g")
    for run in (trained / "g", runs / f"{GRIPPER}_dis_test"):
        (run / "epoch_5.pth").write_bytes(b"weights")
    join(trained, "--generator-run", str(trained / "g"), "--checkpoint", "epoch_5.pth", "--inference-file", str(trained / "i" / "c.yaml"))
    config = yaml.safe_load((trained / "i" / "c.yaml").read_text())
    assert (config["eval"]["checkpoint"], config["discriminator"]["checkpoint"]) == (
        "../g/epoch_5.pth",
        f"../results/logs/{GRIPPER}_dis_test/epoch_5.pth",
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"{GRIPPER}_gen_test/last.pth", None, "no such checkpoint"),
        (f"{GRIPPER}_dis_test/last.pth", "", "no such checkpoint"),
        (f"{GRIPPER}_gen_test/config.yaml", None, "cannot be read"),
        (f"{GRIPPER}_gen_test/config.yaml", "a: &x [1]\nb: *x\n", "refers to another value"),
        (f"{GRIPPER}_gen_test/config.yaml", "!!python/object/apply:os.getcwd []", "not valid YAML"),
        (f"{GRIPPER}_gen_test/config.yaml", "[1]", "it lacks data, train or diffusion"),
        (f"{GRIPPER}_gen_test/config.yaml", "{data: {}, diffusion: {}, train: {model_name: discriminator}}", "not of the generator"),
        (
            f"{GRIPPER}_gen_test/config.yaml",
            "{data: {gripper_name: franka_panda}, diffusion: {}, train: {model_name: diffusion}}",
            "data.gripper_name is 'franka_panda'",
        ),
    ],
)
def test_runs_that_cannot_be_joined(trained: Path, file: str, content: str | None, message: str, capsys: Streams) -> None:
    path = trained / "results" / "logs" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert not join(trained, code=3).exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_checkout_without_the_demo(trained: Path, capsys: Streams) -> None:
    (trained / "code" / "scripts" / "demo_object_mesh.py").unlink()
    assert not join(trained, code=3).exists()
    assert "--graspgen-source" in capsys.readouterr().err
