"""The bench: every part runs at tiny sizes; a part that does not end costs the others nothing."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from scl.__main__ import main
from scl.bench import cpu, gpu, parts
from scl.bench.clock import count_waits, peak_gib, rate, trace
from scl.bench.plain import plain_episode, plainly
from scl.method.rules import RELEASED_PFENET
from scl.models.build import build_model, full_size
from scl.study.devices import shares_table, step_line

CPU = torch.device("cpu")


@pytest.mark.slow
def test_the_rehearsal_measures_every_part(tmp_path, request):
    command = [sys.executable, "-m", "scl", "bench", "gpu", "--rehearse", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "CPU-rehearsal.json").read_text())
    assert list(record["parts"]) == list(gpu.PARTS)
    for name, part in record["parts"].items():
        assert part["ended"] == "complete" and part["rows"], (name, done.stderr)
    assert {row["mode"] for row in record["parts"]["training"]["rows"]} == set(parts.MODES)
    assert {row["data"] for row in record["parts"]["training"]["rows"]} >= {"device", "loader"}
    golden, using = (record["parts"][name]["rows"][0] for name in ("same answers", "using it"))
    assert golden["out_logits"] < 1e-4 and using["largest_difference"] < 1e-4
    assert record["parts"]["resume"]["rows"][0]["largest_relative_gap"] == 0
    assert "## training (complete" in done.stdout


def test_a_part_that_fails_keeps_its_rows(tmp_path, monkeypatch):
    def breaks(bench):
        bench.add({"first": 1})
        raise ZeroDivisionError

    monkeypatch.setitem(gpu.PARTS, "training", (breaks, 5))
    with pytest.raises(ZeroDivisionError):
        gpu.measure_part("training", tmp_path, "cpu", True, None)
    path = gpu.record_path(tmp_path, CPU, True)
    assert json.loads(path.read_text())["parts"]["training"]["rows"] == [{"first": 1}]


def test_a_part_that_hangs_is_stopped_and_the_next_one_runs(tmp_path, monkeypatch):
    def run(command, timeout):
        if "training" in command:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(gpu.subprocess, "run", run)
    path = gpu.measure(tmp_path, "cpu", True, None, ["training", "resume"])
    found = json.loads(path.read_text())["parts"]
    assert found["training"]["ended"].startswith("stopped after")
    assert found["resume"]["ended"] == "failed with status 3"
    assert "failed with status 3" in gpu.table(path)


def test_a_measurement_replaces_the_earlier_one_of_its_part(tmp_path):
    path = tmp_path / "CPU.json"
    for value in (1, 2):
        gpu.note(path, CPU, "resume", {"rows": [{"value": value}]})
        gpu.note(path, CPU, "resume", {"ended": "complete"}, 0.5)
    assert json.loads(path.read_text())["parts"]["resume"] == {
        "rows": [{"value": 2}],
        "ended": "complete",
        "seconds": 0.5,
    }


def test_all_limits_together_leave_room_within_nine_minutes():
    assert sum(limit for _, limit in gpu.PARTS.values()) <= 9 * 60


def test_work_is_counted_by_the_clock():
    done = []
    assert rate(lambda: done.append(1), CPU, 0.0, warm=2) > 0 and len(done) >= 6
    assert count_waits(lambda: None, CPU) is peak_gib(CPU) is None and trace(list, CPU, 1) == {}


@pytest.mark.parametrize("shots", [1, 5])
def test_the_plain_reading_gives_the_same_score_maps(shots):
    model = build_model(full_size("pfenet", "resnet50_pfenet", rules=RELEASED_PFENET, d=8))
    g = torch.Generator().manual_seed(0)
    images, masks = torch.rand(1, shots, 3, 49, 57, generator=g), torch.zeros(1, shots, 49, 57)
    for k in range(shots):
        masks[0, k, 8 + 2 * k : 40, 8 : 30 + 3 * k] = 1
    ours = model.segment(model.condition(images, masks), images[:, 0]).fused_logits
    for reading in (model, plainly(model)):
        plain = plain_episode(reading, images[0], masks[0], images[0, 0])
        assert torch.allclose(plain, ours[0], atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize("case", cpu.CASES[:5])
def test_both_readings_of_every_case_agree(case):
    case = replace(case, size=(49, 57))
    model = cpu.model_of(case, d=8)
    ours, plain = (cpu.work_of(case, model, reading)() for reading in ("package", "plain"))
    assert torch.allclose(plain, ours, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.slow
def test_the_processor_s_part_writes_a_record_and_tables(tmp_path, capsys):
    command = ["bench", "cpu", "--rehearse", "--repeats", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    record = json.loads((tmp_path / "cpu-rehearsal.json").read_text())
    assert [row["shots"] for row in record["cases"]] == [5, 1] and len(record["growth"]) == 2
    for row in [*record["cases"], record["training"]]:
        if "plain" in row["gflop"]:
            assert row["gflop"]["package"] <= row["gflop"]["plain"]
    assert "| further query: GFLOP |" in capsys.readouterr().out
    assert step_line(tmp_path / "cpu-rehearsal.json").startswith(
        "A step of training of SCL (PFENet)"
    )
    assert "has been measured yet" in step_line(tmp_path / "none.json")
    shares = record["training"]["shares"]
    assert list(shares) == ["full size", "course, canet-style", "course, pfenet-style"]
    assert all(0 < sum(of.values()) < 1 for of in shares.values())
    assert "| full size |" in shares_table(tmp_path / "cpu-rehearsal.json")


def test_a_part_that_is_skipped_leaves_what_was_measured(tmp_path, monkeypatch):
    path = gpu.record_path(tmp_path, CPU, True)
    gpu.note(path, CPU, "pascal", {"rows": [{"miou": 50}]})
    gpu.note(path, CPU, "pascal", {"ended": "complete"}, 9.0)
    before = path.read_text()

    def run(command, timeout):
        gpu.measure_part("pascal", tmp_path, "cpu", True, None)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(gpu.subprocess, "run", run)
    gpu.measure(tmp_path, "cpu", True, None, ["pascal"])
    assert path.read_text() == before


def test_a_part_measured_again_says_with_what(tmp_path, monkeypatch):
    path = tmp_path / "CPU.json"
    gpu.note(path, CPU, "resume", {"rows": [{"value": 1}]})
    monkeypatch.setattr(gpu, "versions", lambda: {"torch": "9"})
    gpu.note(path, CPU, "pascal", {"rows": [{"value": 2}]})
    record = json.loads(path.read_text())
    assert record["versions"]["torch"] != "9"
    assert record["parts"]["pascal"]["versions"]["torch"] == "9"
    assert "versions" not in record["parts"]["resume"]


def test_a_whole_run_on_a_cpu_is_refused_without_a_rehearsal(capsys):
    assert main(["bench", "gpu", "--device", "cpu"]) == 1
    assert "add --rehearse, or name parts" in capsys.readouterr().err
