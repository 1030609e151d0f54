"""The tools for notebooks: what they read, run and store, and the hand-outs made of them."""

import copy
import json
import os

import pytest
from nbformat import v4, validate

from scl.course import command, notebooks
from scl.course.handouts import BEGIN, END, handout


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
    metadata = {"kernelspec": notebooks.KERNEL}
    made = {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    return v4.reads(json.dumps(made))


def write(path, *cells):
    path.write_text(v4.writes(notebook(*cells)), encoding="utf-8")
    return path


# ------------------------------------------------------------------ reading notebooks


def test_headline_is_the_last_printed_line_of_its_cell():
    shown = [printed("first\n"), printed("noise\n", "stderr"), printed(["mIoU 47\n", "\n"])]
    book = notebook(cell("x"), cell("print(1)", "headline", outputs=shown), cell("y"))
    assert notebooks.headline(book) == "mIoU 47"


def test_headline_is_empty_where_nothing_was_printed():
    assert notebooks.headline(notebook(cell("1", "headline"))) == ""
    assert notebooks.headline(notebook(cell("1", outputs=[printed("not tagged")]))) == ""


PARAMETERS = "%matplotlib inline\nsteps = 10  # few\nseed: int = 3\nprint('no name')"


def test_a_mistyped_parameter_is_refused_with_the_names_that_exist(tmp_path):
    book = notebook(cell("other = 1"), cell(PARAMETERS, "parameters"))
    path = tmp_path / "02_x.ipynb"
    notebooks.store(notebooks.normalised(book), path)
    notebooks.check_parameters(path, [("steps", "2"), ("seed", "1")])
    with pytest.raises(ValueError, match="02_x has no parameter 'stepz'. It has: steps, seed"):
        notebooks.check_parameters(path, [("steps", "2"), ("stepz", "2")])


# ------------------------------------------------------------------ the normal form


def after_a_run(second):
    """What papermill and Jupyter leave; `second` stands for all that differs between two runs."""
    control = {notebooks.WIDGET: {"model_id": f"id{second}"}, "text/plain": "IntSlider(value=1)"}
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
    return v4.reads(json.dumps(book))


def test_two_runs_have_the_same_normal_form():
    assert notebooks.normalised(after_a_run(1)) == notebooks.normalised(after_a_run(2))


def test_the_normal_form_changes_nothing_it_is_given_and_is_stable():
    book = after_a_run(1)
    before = copy.deepcopy(book)
    once = notebooks.normalised(book)
    assert book == before
    assert notebooks.normalised(once) == once


def test_the_normal_form_keeps_sources_counts_tags_and_outputs():
    first, second, text = notebooks.normalised(after_a_run(1))["cells"]
    assert (first["source"], first["execution_count"]) == ("one\ntwo", 1)
    assert first["metadata"] == {"tags": ["headline"]} and second["metadata"] == {}
    stream, control, figure = first["outputs"]
    assert stream["text"] == "a\nb\n"
    assert control["data"] == {"text/plain": notebooks.WIDGET_NOTE}
    assert figure["data"]["image/png"] == "aGk=\n"
    assert len({first["id"], second["id"], text["id"]}) == 3


def test_storing_the_normal_form_happens_once(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(after_a_run(1)), encoding="utf-8")
    assert notebooks.store(notebooks.normalised(notebooks.read(path)), path)
    before = path.read_bytes()
    assert not notebooks.store(notebooks.normalised(notebooks.read(path)), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


def test_the_normal_form_is_a_sound_notebook():
    validate(notebooks.normalised(after_a_run(1)))


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
    outcome = notebooks.run_notebook(source, out, [("limit", "1")])
    assert not outcome.ok
    assert outcome.error.startswith("ValueError: too small"), outcome.error
    assert "> if limit < 2:" in outcome.error
    assert {p.name for p in out.iterdir()} == {"bad.failed.ipynb", "bad.log"}
    executed = notebooks.read(outcome.copy)
    assert notebooks.headline(executed) == "limit 1"
    assert notebooks.as_text(executed) == outcome.copy.read_text(encoding="utf-8") + "\n", (
        "we write notebooks as Jupyter does, so that opening one changes nothing"
    )
    assert source.read_bytes() == before


def fake_papermill(monkeypatch, tmp_path, code):
    """Let `python -m papermill` be a few lines of ours, for what takes too long with the real."""
    (tmp_path / "papermill.py").write_text(code)
    ours = {**os.environ, "PYTHONPATH": str(tmp_path)}
    monkeypatch.setattr(notebooks, "environment", lambda: ours)


def test_a_finished_run_leaves_only_the_executed_copy(tmp_path, monkeypatch):
    fake_papermill(monkeypatch, tmp_path, "import shutil, sys; shutil.copy(*sys.argv[1:3])")
    source = write(tmp_path / "good.ipynb", cell("1", "headline", outputs=[printed("47 %\n")]))
    outcome = notebooks.run_notebook(source, tmp_path / "out")
    assert outcome.ok and outcome.headline == "47 %"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.ipynb"]


def test_a_notebook_that_never_ends_is_stopped(tmp_path, monkeypatch):
    fake_papermill(monkeypatch, tmp_path, "import time; time.sleep(60)")
    source = write(tmp_path / "long.ipynb", cell("1"))
    outcome = notebooks.run_notebook(source, tmp_path / "out", seconds=0.5)
    assert not outcome.ok and outcome.copy is None
    assert "had not finished after" in outcome.error


def test_the_command_fails_when_one_notebook_does(tmp_path, monkeypatch, capsys):
    fake_papermill(monkeypatch, tmp_path, "import sys; sys.exit('the kernel died')")
    monkeypatch.setattr(notebooks, "BUILD", tmp_path / "build")
    assert command.main(["course", str(write(tmp_path / "a.ipynb"))]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said and "the kernel died" in said and "0 ran, 1 failed" in said


def test_a_mistyped_parameter_is_told_in_a_line_before_anything_runs(tmp_path, capsys):
    paths = [str(write(tmp_path / f"{n}.ipynb", cell("n = 1", "parameters"))) for n in "ab"]
    assert command.main(["course", *paths, "-p", "m", "2"]) == 1
    said = capsys.readouterr()
    assert said.err == "a has no parameter 'm'. It has: n.\n" and not said.out


def test_refresh_stores_only_what_succeeded(tmp_path, monkeypatch, capsys):
    fails = "if 'bad' in sys.argv[1]: sys.exit('no')\n"
    fake_papermill(monkeypatch, tmp_path, f"import shutil, sys\n{fails}shutil.copy(*sys.argv[1:3])")
    monkeypatch.setattr(notebooks, "BUILD", tmp_path / "build")
    noted = []
    monkeypatch.setattr(command, "note_seconds", lambda name, seconds: noted.append(name))
    good, bad = (write(tmp_path / f"{name}.ipynb", cell("1")) for name in ("good", "bad"))
    before = bad.read_bytes()
    assert command.main(["refresh", str(good), str(bad)]) == 1
    assert bad.read_bytes() == before and noted == ["good"]
    assert good.read_text() == notebooks.as_text(notebooks.normalised(notebooks.read(good)))
    assert "good.ipynb: new outputs stored" in capsys.readouterr().out


def test_an_interrupt_stops_what_runs_and_is_told_in_a_word(tmp_path, monkeypatch, capsys):
    fake_papermill(monkeypatch, tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(notebooks, "BUILD", tmp_path / "build")
    stopped = []

    class Interrupted(notebooks.subprocess.Popen):
        def wait(self, timeout=None):
            if not stopped:
                stopped.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(notebooks.subprocess, "Popen", Interrupted)
    assert command.main(["course", str(write(tmp_path / "a.ipynb"))]) == 130
    assert stopped[0].returncode not in (None, 0)
    assert "Stopped." in capsys.readouterr().err


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
    made = handout(book, "02_x")
    assert book == before
    text, exercise, check, answers, other = made["cells"]
    assert exercise.source == BLANK
    assert [c.source for c in (text, check, answers, other)] == [
        "Write it.", "check.area(area)", "*Your answers:*\n", "x = 1",
    ]  # fmt: skip
    for one in (exercise, check, other):
        assert one["outputs"] == [] and one["execution_count"] is None
    assert "secret" not in str(made) and "seen" not in str(made)


def test_a_handout_is_what_nbgrader_reads():
    book = notebook(*course_cells(), *course_cells())
    made = handout(book, "02_x")
    assert handout(notebooks.normalised(book), "02_x") == made, "the same numbers each time"
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
    assert handout(notebook(note), "02_x")["cells"] == []


def test_a_handout_shows_the_cell_that_is_to_be_filled():
    folded = cell(SOLVED, "solution")
    folded["metadata"]["jupyter"] = {"source_hidden": True}
    (made,) = handout(notebook(folded), "02_x")["cells"]
    assert "jupyter" not in made["metadata"]


@pytest.mark.parametrize(
    ("source", "tags", "words"),
    [
        ("def f():\n    return 1", ["solution"], "BEGIN SOLUTION' is missing"),
        (f"{BEGIN}\nx = 1", ["solution"], "END SOLUTION' is missing"),
        (f"x = 1\n{END}", ["solution"], "END SOLUTION' stands"),
        (f"{BEGIN}\n{BEGIN}\n{END}", ["solution"], "BEGIN SOLUTION' stands"),
        (f"{BEGIN}\nx = 1\n{END}", [], "tagged 'solution'"),
    ],
)
def test_a_solution_that_would_stay_in_the_handout_is_refused(source, tags, words):
    with pytest.raises(ValueError, match=f"02_x, cell 2: .*{words}"):
        handout(notebook(cell("x"), cell(source, *tags)), "02_x")


def test_a_solution_in_a_text_cell_is_refused():
    text = {"cell_type": "markdown", "metadata": {"tags": ["solution"]}, "source": "it is 5"}
    with pytest.raises(ValueError, match="02_x, cell 1"):
        handout(notebook(text), "02_x")


@pytest.fixture
def student(tmp_path, monkeypatch):
    """Two notebooks, and the command that writes their hand-outs."""
    monkeypatch.setattr(command, "BUILD", tmp_path / "build")
    paths = [write(tmp_path / "01_a.ipynb", *course_cells()), write(tmp_path / "02_b.ipynb")]
    folder = tmp_path / "build" / "student"
    return paths, folder, lambda *more: command.main(["student", *map(str, paths), *more])


def test_student_writes_handouts_once_and_only_if_all_are_sound(student, capsys):
    paths, folder, command = student
    assert command() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "01_a" in first and "exercises: 1 " in first and "written" in first
    assert "02_b" in second and "exercises: 0 " in second
    target = folder / "01_a.ipynb"
    made = notebooks.read(target)
    assert notebooks.as_text(notebooks.normalised(made)) == target.read_text()
    assert "secret" not in target.read_text()
    assert command() == 0
    assert capsys.readouterr().out.count("as before") == 2
    before = target.read_text()
    write(paths[0])
    write(paths[1], cell("x = 1", "solution"))
    assert command() == 1
    assert "02_b, cell 1" in capsys.readouterr().err and target.read_text() == before


def test_student_never_overwrites_what_a_learner_has_done(student, capsys):
    """Neither the worked-in hand-out nor the copies of it that --force has kept."""
    _, folder, command = student
    assert command() == 0
    blank = (folder / "01_a.ipynb").read_bytes()
    for work in (b"finished", b"finished again"):
        (folder / "01_a.ipynb").write_bytes(work)
        (folder / "02_b.ipynb").unlink(missing_ok=True)
        capsys.readouterr()
        assert command() == 1
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1 and "--force" in said.err and not said.out
        assert str(folder / "01_a.ipynb") in said.err and "02_b" not in said.err
        assert (folder / "01_a.ipynb").read_bytes() == work
        assert not (folder / "02_b.ipynb").exists(), "all are written, or none"
        assert command("--force") == 0
        assert (folder / "01_a.ipynb").read_bytes() == blank and (folder / "02_b.ipynb").exists()
    kept = {path.name: path.read_bytes() for path in folder.glob("*.backup-*")}
    assert kept == {"01_a.backup-1.ipynb": b"finished", "01_a.backup-2.ipynb": b"finished again"}


def test_answers_lie_beside_the_handouts_and_are_never_overwritten_either(student, capsys):
    """They hold each question with its solution, without markers; a chapter without has no file."""
    _, folder, command = student
    assert command() == 0
    (path,) = folder.with_name("answers").iterdir()
    text = path.read_text()
    assert path.name == "01_a.md" and not [p for p in folder.iterdir() if "answers" in p.name]
    assert "Write it.\n\n```python\ndef area(mask):" in text and "return mask.sum()" in text
    assert "secret" in text and "###" not in text
    path.write_text("my notes")
    capsys.readouterr()
    assert command() == 1 and str(path) in capsys.readouterr().err
    assert path.read_text() == "my notes"
    assert command("--force") == 0 and path.read_text() == text
    assert path.with_name("01_a.backup-1.md").read_text() == "my notes"
