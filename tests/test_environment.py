"""The files that describe the environment agree with each other, and the root stays small."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
EXPECTED_AT_ROOT = {
    *(".ci", ".github", ".gitignore", ".gitattributes", "CITATION.cff", "LICENSE", "README.md"),
    *("constraints.txt", "environment.yml", "pyproject.toml", "tasks.py"),
    *(".binder", ".devcontainer"),  # where Binder and containers look
    *("data", "docs", "notebooks", "results", "scl", "tests", "tools"),
}


def project():
    """The [project] table."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct():
    """Every direct requirement, the development extra's included."""
    table = project()
    return [Requirement(x) for x in table["dependencies"] + table["optional-dependencies"]["dev"]]


def pins(python):
    """What constraints.txt says for one version of Python: name to version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            assert re.fullmatch(r"==[\d.]+", str(pin.specifier)), f"not an exact version: {line}"
            found[name] = str(pin.specifier)[2:]
    return found


def tracked():
    """The files under version control; without git (a downloaded archive), this cannot be told."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone")
    return [name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_is_pinned_within_its_range(python):
    pinned = pins(python)
    for requirement in direct():
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue  # not installed there
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"constraints.txt lacks {name}"
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]}"
        assert requirement.specifier, f"{name} has no range in pyproject.toml"


def test_every_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in direct():
        assert re.search(rf'"{re.escape(requirement.name)}[^"]*", # \w', text), requirement.name


def test_what_is_installed_is_what_the_constraints_say():
    if not (ROOT / ".venv" / "scl-course.json").exists():
        pytest.skip("not an environment made by tasks.py")
    for name, version in pins(f"{sys.version_info[0]}.{sys.version_info[1]}").items():
        assert metadata.version(name).split("+")[0] == version, name


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (by_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == project()["name"]
    assert by_pip == ["-c constraints.txt", "-e ."], "the tested list is the only list"
    assert "pip" in conda
    (python,) = [entry.split("=")[1] for entry in conda if entry.startswith("python=")]
    assert python in PYTHONS


def test_no_file_names_a_registry_or_a_folder_of_somebody_s_machine():
    host = re.compile(r"py(pi|thonhosted)\.org|npm(js)\.(org|com)|index-url|find-links")
    folder = re.compile(r"(?<![\w.])/(work|root|home/[a-z]+)/")
    for name in tracked():
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        assert not host.search(text), f"{name} names a package registry"
        assert not folder.search(text), f"{name} names a folder of one machine"


def test_the_root_holds_nothing_unexpected():
    extra = {name.split("/")[0] for name in tracked()} - EXPECTED_AT_ROOT
    assert not extra, f"if they belong there, add them to EXPECTED_AT_ROOT: {sorted(extra)}"


def test_no_file_is_larger_than_it_should_be():
    large = [name for name in tracked() if (ROOT / name).stat().st_size > 20_000_000]
    assert not large
