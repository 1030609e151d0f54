"""tasks.py: when it installs, what it says when it cannot, and what it hands over."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[1]

# ------------------------------------------------------------------ when to install


WANTED = {"finished": True, "requirements": "r", "python": "3.11", "folder": "here", "dev": False}


@pytest.mark.parametrize(
    ("stamp", "has_python", "action"),
    [
        (WANTED, True, "ready"),
        ({**WANTED, "dev": True}, True, "ready"),
        (None, False, "build"),
        (None, True, "update"),
        (WANTED, False, "build"),
        ({"finished": False}, True, "build"),
        ({**WANTED, "folder": "there"}, True, "build"),
        ({**WANTED, "python": "3.10"}, True, "build"),
        ({**WANTED, "requirements": "old"}, True, "update"),
    ],
)
def test_what_the_stamp_leads_to(stamp, has_python, action):
    assert tasks.installation_state(stamp, WANTED, has_python)[0] == action


def test_tests_need_more_than_the_course():
    assert tasks.installation_state(WANTED, {**WANTED, "dev": True}, True)[0] == "update"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A copy of the course without an environment; only what the installer reads."""
    root = tmp_path / "my course"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    places = {"ROOT": "", "VENV": ".venv", "BUILD": "build", "NOTEBOOKS": "notebooks"}
    for name, place in places.items():
        monkeypatch.setattr(tasks, name, root / place)
    monkeypatch.setattr(tasks, "STAMP", root / ".venv" / "stamp.json")
    monkeypatch.setattr(tasks, "LOG", root / "build" / "install.log")
    monkeypatch.setattr(tasks, "PYTHON", root / ".venv" / "python")
    monkeypatch.setattr(tasks, "NEEDED_GB", 0)
    return root


def pretend(monkeypatch, fail_at=""):
    """Replace the steps that take minutes; returns the list of what was done."""
    done = []

    def run_logged(command, explain, environment=None):
        step = command[2]
        done.append(step)
        if step == fail_at:
            raise KeyboardInterrupt
        if step == "venv":
            tasks.PYTHON.write_text("")

    monkeypatch.setattr(tasks, "run_logged", run_logged)
    return done


def test_installing_happens_once(elsewhere, monkeypatch):
    done = pretend(monkeypatch)
    tasks.ensure_installed()
    tasks.ensure_installed()
    assert done == ["venv", "pip"]
    (elsewhere / "constraints.txt").write_text("# changed")
    tasks.ensure_installed()
    assert done == ["venv", "pip", "pip"]
    tasks.ensure_installed(dev=True)
    tasks.ensure_installed(dev=False)
    assert done == ["venv", "pip", "pip", "pip"]


def test_torch_without_cuda_comes_first_and_from_the_index_that_is_named(elsewhere, monkeypatch):
    commands = []

    def run_logged(command, explain, environment=None):
        commands.append(command)
        tasks.PYTHON.write_text("")

    monkeypatch.setattr(tasks, "run_logged", run_logged)
    monkeypatch.setenv("TORCH_CPU_INDEX", "an address")
    tasks.ensure_installed(cpu=True)
    _, pair, package = commands
    assert pair[-4:] == ["torch", "torchvision", "-i", "an address"]
    assert package[-2:] == ["-e", "."] and "-i" not in package
    commands.clear()
    tasks.ensure_installed(cpu=True)
    assert commands == [], "a torch that is there is used"


def test_without_an_address_of_torch_without_cuda_it_says_where_to_find_it(elsewhere, monkeypatch):
    monkeypatch.delenv("TORCH_CPU_INDEX", raising=False)
    monkeypatch.setattr(tasks.sys, "platform", "linux")
    with pytest.raises(tasks.TaskError, match="TORCH_CPU_INDEX=ADDRESS python3 tasks.py"):
        tasks.ensure_installed(cpu=True)
    assert not (elsewhere / ".venv").exists()


def test_an_index_that_cannot_be_reached_is_told_with_the_way_out(elsewhere, monkeypatch):
    def run_logged(command, explain, environment=None):
        if "-i" in command:
            raise tasks.TaskError(explain("NewConnectionError"))
        tasks.PYTHON.write_text("")

    monkeypatch.setattr(tasks, "run_logged", run_logged)
    monkeypatch.setenv("TORCH_CPU_INDEX", "an address")
    with pytest.raises(tasks.TaskError, match="the usual one takes .* GB.\npip could not reach"):
        tasks.ensure_installed(cpu=True)
    assert not tasks.read_stamp()["finished"]


def test_an_interrupted_installation_starts_afresh(elsewhere, monkeypatch, capsys):
    pretend(monkeypatch, fail_at="pip")
    with pytest.raises(KeyboardInterrupt):
        tasks.ensure_installed()
    (elsewhere / ".venv" / "half").write_text("")
    done = pretend(monkeypatch)
    tasks.ensure_installed()
    assert done == ["venv", "pip"]
    assert not (elsewhere / ".venv" / "half").exists()
    assert "did not finish" in capsys.readouterr().out


def test_a_stamp_cut_short_counts_as_unfinished(elsewhere):
    (elsewhere / ".venv").mkdir()
    tasks.STAMP.write_text('{"finished": tr')
    assert tasks.read_stamp() == {"finished": False}


# ------------------------------------------------------------------ what is said when it fails


def test_without_ensurepip(elsewhere, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        tasks.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name)
    )
    with pytest.raises(tasks.TaskError, match="apt install python3-venv"):
        tasks.ensure_installed()
    assert not (elsewhere / ".venv").exists()


def test_without_room(elsewhere, monkeypatch):
    monkeypatch.setattr(tasks, "NEEDED_GB", 9)
    monkeypatch.setattr(tasks.shutil, "disk_usage", lambda path: type("U", (), {"free": 2e9}))
    with pytest.raises(tasks.TaskError, match=r"2\.0 GB free, 9 GB needed"):
        tasks.ensure_installed()


def test_where_the_folder_cannot_be_written(elsewhere, monkeypatch):
    (elsewhere / "build").write_text("a file where the folder should be")
    with pytest.raises(tasks.TaskError, match="a folder of your own"):
        tasks.ensure_installed()


FAILED_PIP = """
import sys
print("WARNING: Retrying: NewConnectionError: [Errno -3] Temporary failure in name resolution")
print("ERROR: No matching distribution found for torch")
sys.exit(1)
"""


def test_without_network_it_says_so_and_shows_the_end_of_the_log(elsewhere):
    (elsewhere / "build").mkdir()
    with pytest.raises(tasks.TaskError) as failure:
        tasks.run_logged([sys.executable, "-c", FAILED_PIP], tasks.explain_pip_failure)
    said = str(failure.value)
    assert said.startswith("pip could not reach the package index")
    assert "| ERROR: No matching distribution found for torch" in said
    assert said.endswith(str(tasks.LOG))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Read timed out.", "could not reach"),
        ("Permission denied: 'x'", "may not write"),
        ("ResolutionImpossible", "could not install"),
    ],
)
def test_other_reasons_of_pip(text, word):
    assert word in tasks.explain_pip_failure(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("  Downloading torch-2.15.0-cp311-cp311-manylinux.whl (539.1 MB)", "torch-2.15.0 (539.1"),
        ("  Downloading nvidia_cublas-13.4.1.3-py3-none-any.whl.metadata (2 kB)", "nvidia_cublas"),
        ("Installing collected packages: a, b", "unpacking"),
        ("Requirement already satisfied: x", "working"),
    ],
)
def test_signs_of_life(line, words):
    assert words in tasks.doing_now(["Obtaining file", line, "something else"])


# ------------------------------------------------------------------ what is handed over


def test_selection_is_sorted_and_an_unknown_name_lists_the_known(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "NOTEBOOKS", tmp_path)
    for name in ("02_b", "01_a"):
        (tmp_path / f"{name}.ipynb").write_text("{}")
    assert [p.stem for p in tasks.select_notebooks()] == ["01_a", "02_b"]
    assert [p.stem for p in tasks.select_notebooks("b")] == ["02_b"]
    with pytest.raises(tasks.TaskError, match="01_a, 02_b"):
        tasks.select_notebooks("zebra")


@pytest.mark.parametrize(
    ("given", "more"),
    [
        (["course", "-p", "STEPS", "2"], ["-p", "STEPS", "2"]),
        (["refresh"], []),
        (["normalise"], []),
        (["student", "--force"], ["--force"]),
        (["site"], []),
        (["slides"], []),
    ],
)
def test_work_on_notebooks_is_handed_to_the_environments_python(
    elsewhere, monkeypatch, given, more
):
    """The folder of the course, its notebooks by their paths, and the exit status."""
    pretend(monkeypatch)
    (elsewhere / "notebooks").mkdir()
    (elsewhere / "notebooks" / "01_a.ipynb").write_text("{}")
    calls = []

    class Popen:
        def __init__(self, command, cwd):
            calls.append((command, cwd))

        def wait(self):
            return 3

    monkeypatch.setattr(tasks.subprocess, "Popen", Popen)
    assert tasks.main([*given, "--only", "01"]) == 3
    path = str(elsewhere / "notebooks" / "01_a.ipynb")
    module = [str(tasks.PYTHON), "-m", "scl.course.command"]
    assert calls == [([*module, given[0], path, *more], elsewhere)]


# ------------------------------------------------------------------ the command line


def test_an_old_python_can_read_the_file_far_enough_to_be_told():
    ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_options_are_handed_on_only_where_they_are_meant():
    assert tasks.parse(["test", "-k", "word", "-x"]).extra == ["-k", "word", "-x"]
    options = tasks.parse(["course", "--only", "02", "-p", "steps", "3", "-p", "seed", "1"])
    assert options.parameters == [["steps", "3"], ["seed", "1"]]
    with pytest.raises(SystemExit):
        tasks.parse(["course", "--onyl", "02"])


def test_a_failure_is_told_without_a_traceback(tmp_path):
    made = subprocess.run(
        [sys.executable, str(ROOT / "tasks.py"), "course", "--only", "no such notebook"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 1
    assert "No notebook's name contains" in made.stderr and "Traceback" not in made.stderr
