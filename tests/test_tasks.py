"""tasks.py: what it reads from notebooks, when it installs, and what it says when it cannot."""

import ast
import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("course_tasks", ROOT / "tasks.py")
tasks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tasks)


def cell(source, *tags, outputs=()):
    """A code cell as Jupyter stores one after a run."""
    return {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {"tags": list(tags)},
        "outputs": list(outputs),
        "source": source,
    }


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def write(path, *cells):
    path.write_text(json.dumps(notebook(*cells)), encoding="utf-8")
    return path


# ------------------------------------------------------------------ reading notebooks


def test_headline_is_the_last_printed_line_of_its_cell():
    shown = [printed("first\n"), printed("noise\n", "stderr"), printed(["mIoU 47\n", "\n"])]
    book = notebook(cell("x"), cell("print(1)", "headline", outputs=shown), cell("y"))
    assert tasks.headline(book) == "mIoU 47"


def test_headline_is_empty_where_nothing_was_printed():
    assert tasks.headline(notebook(cell("1", "headline"))) == ""
    assert tasks.headline(notebook(cell("1", outputs=[printed("not tagged")]))) == ""


PARAMETERS = "%matplotlib inline\nsteps = 10  # few\nseed: int = 3\nprint('no name')"


def test_parameter_names_are_those_assigned_in_the_tagged_cell():
    book = notebook(cell("other = 1"), cell(PARAMETERS, "parameters"))
    assert tasks.parameter_names(book) == ["steps", "seed"]


def test_a_mistyped_parameter_is_refused_with_the_names_that_exist():
    book = notebook(cell(PARAMETERS, "parameters"))
    tasks.check_parameters(book, [("steps", "2")], "02_x")
    with pytest.raises(tasks.TaskError, match="02_x has no parameter 'stepz'. It has: steps, seed"):
        tasks.check_parameters(book, [("steps", "2"), ("stepz", "2")], "02_x")


def test_selection_is_sorted_and_an_unknown_name_lists_the_known(tmp_path):
    for name in ("02_b", "01_a"):
        write(tmp_path / f"{name}.ipynb")
    assert [p.stem for p in tasks.select_notebooks("", tmp_path)] == ["01_a", "02_b"]
    assert [p.stem for p in tasks.select_notebooks("b", tmp_path)] == ["02_b"]
    with pytest.raises(tasks.TaskError, match="01_a, 02_b"):
        tasks.select_notebooks("zebra", tmp_path)


# ------------------------------------------------------------------ the normal form


def after_a_run(second):
    """What papermill and Jupyter leave; `second` stands for all that differs between two runs."""
    control = {tasks.WIDGET: {"model_id": f"id{second}"}, "text/plain": "IntSlider(value=1)"}
    shown = [
        printed("a\n"),
        printed("b\n"),
        {"output_type": "display_data", "data": control, "metadata": {}},
        {
            "output_type": "display_data",
            "data": {"image/png": "aGk=\n", "text/plain": "<Figure>"},
            "metadata": {"execution": second},
        },
    ]
    book = notebook(cell("one\ntwo", "headline", outputs=shown), cell("three"))
    book["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "text"})
    book["metadata"] = {
        "papermill": {"duration": second},
        "widgets": {"state": {f"id{second}": {}}},
        "language_info": {"name": "python", "version": f"3.11.{second}"},
    }
    for one in book["cells"]:
        one["metadata"]["papermill"] = {"start_time": second}
    return book


def test_two_runs_have_the_same_normal_form():
    assert tasks.normalised(after_a_run(1)) == tasks.normalised(after_a_run(2))


def test_the_normal_form_changes_nothing_it_is_given_and_is_stable():
    book = after_a_run(1)
    before = copy.deepcopy(book)
    once = tasks.normalised(book)
    assert book == before
    assert tasks.normalised(once) == once


def test_the_normal_form_keeps_sources_counts_tags_and_outputs():
    first, second, text = tasks.normalised(after_a_run(1))["cells"]
    assert (first["source"], first["execution_count"]) == (["one\n", "two"], 1)
    assert first["metadata"] == {"tags": ["headline"]} and second["metadata"] == {}
    stream, control, figure = first["outputs"]
    assert stream["text"] == ["a\n", "b\n"]
    assert control["data"] == {"text/plain": [tasks.WIDGET_NOTE]}
    assert figure["data"]["image/png"] == "aGk=\n"
    assert len({first["id"], second["id"], text["id"]}) == 3


def test_storing_the_normal_form_happens_once(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(after_a_run(1)), encoding="utf-8")
    assert not tasks.is_normalised(path)
    assert tasks.store_normalised(path, path)
    assert tasks.is_normalised(path)
    assert not tasks.store_normalised(path, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


# ------------------------------------------------------------------ running notebooks


@pytest.mark.notebook
def test_a_failing_cell_leaves_only_a_copy_named_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    source = write(
        tmp_path / "bad.ipynb",
        cell("import os\nlimit = 2", "parameters"),
        cell("assert os.environ.get('MPLBACKEND') != 'agg'\nprint(f'limit {limit}')", "headline"),
        cell("if limit < 2:\n    raise ValueError('too small')"),
    )
    before = source.read_bytes()
    out = tmp_path / "with space"
    out.mkdir()
    (out / "bad.ipynb").write_text("from an earlier run")
    outcome = tasks.run_notebook(source, out, [("limit", "1")], python=sys.executable)
    assert not outcome.ok
    assert outcome.error.startswith("ValueError: too small"), outcome.error
    assert "> if limit < 2:" in outcome.error
    assert {p.name for p in out.iterdir()} == {"bad.failed.ipynb", "bad.log"}
    executed = tasks.read_notebook(outcome.copy)
    assert tasks.headline(executed) == "limit 1"
    assert tasks.notebook_text(executed) == outcome.copy.read_text(encoding="utf-8") + "\n", (
        "we write notebooks as Jupyter does, so that opening one changes nothing"
    )
    assert source.read_bytes() == before


def fake_papermill(monkeypatch, tmp_path, code):
    """Let `python -m papermill` be a few lines of ours, for what takes too long with the real."""
    (tmp_path / "papermill.py").write_text(code)
    monkeypatch.setattr(
        tasks, "notebook_environment", lambda: {**tasks.os.environ, "PYTHONPATH": str(tmp_path)}
    )


def test_a_finished_run_leaves_only_the_executed_copy(tmp_path, monkeypatch):
    fake_papermill(monkeypatch, tmp_path, "import shutil, sys; shutil.copy(*sys.argv[1:3])")
    source = write(tmp_path / "good.ipynb", cell("1", "headline", outputs=[printed("47 %\n")]))
    outcome = tasks.run_notebook(source, tmp_path / "out", python=sys.executable)
    assert outcome.ok and outcome.headline == "47 %"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.ipynb"]


def test_a_notebook_that_never_ends_is_stopped(tmp_path, monkeypatch):
    fake_papermill(monkeypatch, tmp_path, "import time; time.sleep(60)")
    source = write(tmp_path / "long.ipynb", cell("1"))
    outcome = tasks.run_notebook(source, tmp_path / "out", python=sys.executable, seconds=0.5)
    assert not outcome.ok and outcome.copy is None
    assert "had not finished after" in outcome.error
    assert outcome.seconds < 30


def test_the_command_fails_when_one_notebook_does(tmp_path, monkeypatch, capsys):
    fake_papermill(monkeypatch, tmp_path, "import sys; sys.exit('the kernel died')")
    monkeypatch.setattr(tasks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tasks, "BUILD", tmp_path / "build")
    monkeypatch.setattr(tasks, "select_notebooks", lambda only: [write(tmp_path / "a.ipynb")])
    monkeypatch.setattr(tasks, "ensure_installed", lambda dev=False: None)
    monkeypatch.setattr(tasks, "venv_python", lambda: Path(sys.executable))
    assert tasks.main(["course"]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said and "the kernel died" in said and "0 ran, 1 failed" in said


# ------------------------------------------------------------------ hand-outs


SOLVED = """def area(mask):
    \"\"\"How many cells?\"\"\"
    if mask is None:
        ### BEGIN SOLUTION
        secret = 1
        return secret
        ### END SOLUTION
    ### BEGIN SOLUTION
    return mask.sum()
    ### END SOLUTION"""
BLANK = """def area(mask):
    \"\"\"How many cells?\"\"\"
    if mask is None:
        # YOUR CODE HERE
        raise NotImplementedError()
    # YOUR CODE HERE
    raise NotImplementedError()"""


def course_cells():
    """A text, an exercise, its check, an answer, and a cell that has nothing to do with it."""
    return [
        {"cell_type": "markdown", "metadata": {}, "source": "Write it."},
        cell(SOLVED, "solution", outputs=[printed("secret\n")]),
        cell("check.area(area)", "check", outputs=[printed("right\n")]),
        {"cell_type": "markdown", "metadata": {"tags": ["answer"]}, "source": "secret"},
        cell("x = 1", outputs=[printed("seen\n")]),
    ]


def test_a_handout_has_blanks_and_checks_but_no_answers_and_no_outputs():
    book = notebook(*course_cells())
    before = copy.deepcopy(book)
    made = tasks.handout(book, "02_x")
    assert book == before
    text, exercise, check, answers, other = made["cells"]
    assert tasks.text_of(exercise["source"]) == BLANK
    assert [tasks.text_of(c["source"]) for c in (text, check, answers, other)] == [
        "Write it.", "check.area(area)", "*Your answers:*\n", "x = 1",
    ]  # fmt: skip
    for one in (exercise, check, other):
        assert one["outputs"] == [] and one["execution_count"] is None
    assert "secret" not in tasks.notebook_text(made) and "seen" not in tasks.notebook_text(made)


def test_a_handout_is_what_nbgrader_reads():
    book = notebook(*course_cells(), *course_cells())
    made = tasks.handout(book, "02_x")
    assert tasks.handout(tasks.normalised(book), "02_x") == made, "the same numbers each time"
    known = [c["metadata"]["nbgrader"] for c in made["cells"] if "nbgrader" in c["metadata"]]
    ids = [one.pop("grade_id") for one in known]
    assert len(set(ids)) == len(ids) == 6
    shared = {"task": False, "schema_version": 3, "cell_type": "code"}
    solution = {"grade": False, "solution": True, "locked": False, **shared}
    check = {"grade": True, "solution": False, "locked": True, "points": 1, **shared}
    words = {"grade": True, "solution": True, "locked": False, "points": 6, **shared}
    words["cell_type"] = "markdown"
    assert known == [solution, check, words] * 2


def test_a_handout_leaves_out_what_speaks_of_the_courses_own_copy():
    note = {"cell_type": "markdown", "metadata": {"tags": ["course"]}, "source": "folded away"}
    assert tasks.handout(notebook(note), "02_x")["cells"] == []


def test_a_handout_shows_the_cell_that_is_to_be_filled():
    folded = cell(SOLVED, "solution")
    folded["metadata"]["jupyter"] = {"source_hidden": True}
    (made,) = tasks.handout(notebook(folded), "02_x")["cells"]
    assert "jupyter" not in made["metadata"]


@pytest.mark.parametrize(
    ("source", "tags", "words"),
    [
        ("def f():\n    return 1", ["solution"], "BEGIN SOLUTION' is missing"),
        (f"{tasks.BEGIN}\nx = 1", ["solution"], "END SOLUTION' is missing"),
        (f"x = 1\n{tasks.END}", ["solution"], "END SOLUTION' stands"),
        (f"{tasks.BEGIN}\n{tasks.BEGIN}\n{tasks.END}", ["solution"], "BEGIN SOLUTION' stands"),
        (f"{tasks.BEGIN}\nx = 1\n{tasks.END}", [], "tagged 'solution'"),
    ],
)
def test_a_solution_that_would_stay_in_the_handout_is_refused(source, tags, words):
    with pytest.raises(tasks.TaskError, match=f"02_x, cell 2: .*{words}"):
        tasks.handout(notebook(cell("x"), cell(source, *tags)), "02_x")


def test_a_solution_in_a_text_cell_is_refused():
    text = {"cell_type": "markdown", "metadata": {"tags": ["solution"]}, "source": "it is 5"}
    with pytest.raises(tasks.TaskError, match="02_x, cell 1"):
        tasks.handout(notebook(text), "02_x")


def test_student_writes_handouts_once_and_only_if_all_are_sound(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "BUILD", tmp_path / "build")
    paths = [write(tmp_path / "01_a.ipynb", *course_cells()), write(tmp_path / "02_b.ipynb")]
    monkeypatch.setattr(tasks, "select_notebooks", lambda only: paths)
    assert tasks.main(["student"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "01_a" in first and "exercises: 1 " in first and "written" in first
    assert "02_b" in second and "exercises: 0 " in second
    target = tmp_path / "build" / "student" / "01_a.ipynb"
    assert tasks.is_normalised(target) and "secret" not in target.read_text()
    assert tasks.main(["student"]) == 0
    assert capsys.readouterr().out.count("as before") == 2
    before = target.read_text()
    write(paths[0])
    write(paths[1], cell("x = 1", "solution"))
    assert tasks.main(["student"]) == 1
    assert "02_b, cell 1" in capsys.readouterr().err and target.read_text() == before


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
    monkeypatch.setattr(tasks, "venv_python", lambda: root / ".venv" / "python")
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
            tasks.venv_python().write_text("")

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
def test_signs_of_life(tmp_path, line, words):
    (tmp_path / "log").write_text(f"Obtaining file\n{line}\nsomething else\n")
    assert words in tasks.doing_now(tmp_path / "log")


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
