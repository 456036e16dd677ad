"""The package as users get it: an sdist, the wheel built from it, and that one installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import lyapopt

ROOT = Path(__file__).parents[1]
PARTS = ("lyapopt", "studies", "dashboards", "tests")
NO_CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


def build(folder: Path, source: Path, what: str) -> Path:
    """What `python -m build` calls: the hooks of PEP 517."""
    code = f"from setuptools import build_meta as b; print(b.build_{what}({str(folder)!r}))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=NO_CACHES)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, source)
    return build(tmp_path_factory.mktemp("sdist"), source, "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [source] = unpacked.iterdir()
    return build(tmp_path_factory.mktemp("wheel"), source, "wheel")


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lyapopt` of an environment that has this wheel, and what is installed here otherwise."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = place.glob("lib/python*/site-packages")
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "others.pth").write_text("\n".join(sorted(here)))
    return place / "bin" / "lyapopt"


def test_the_wheel_holds_all_that_commands_read_and_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(archive.read(metadata).decode())
    assert said["Version"] == lyapopt.__version__
    assert "dashboard" in (said.get_all("Provides-Extra") or [])
    assert "lyapopt/py.typed" in names
    for folder in ("studies", "dashboards"):
        for path in (ROOT / folder).iterdir():
            if path.is_file():
                assert f"lyapopt/{folder}/{path.name}" in names
    read = [*ROOT.glob("lyapopt/**/*.py"), *ROOT.glob("lyapopt/web/static/*")]
    code = {f"lyapopt/{path.relative_to(ROOT / 'lyapopt')}" for path in read}
    assert code <= {*names}
    assert f"lyapopt-{lyapopt.__version__}-py3" in (ROOT / "README.md").read_text()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"lyapopt", f"lyapopt-{lyapopt.__version__}.dist-info"}


def test_the_installed_wheel_writes_a_study_and_runs_it_without_a_clone(
    program: Path, tmp_path: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version") == f"lyapopt {lyapopt.__version__}\n"
    assert "wrote study.yaml" in run("init", "--template", "digits")
    short = ("--set", "n_trials=2", "--set", "task.steps=40")
    assert "all 2 trials are done" in run("run", "study.yaml", *short)
    assert (tmp_path / "runs" / "digits.db").exists()
