"""The paper's Tables 1 to 3: quoted whole, consistent but for what is named, and printed."""

import json

import pytest

from scl.__main__ import main
from scl.datasets.folds import FOLDS
from scl.study import published
from scl.study.paper_tables import ROWS_OF_RECIPES, own_scores, printed, published_table
from scl.training.recipe import recipes

# Folds and means are rounded to 0.1, so a mean may lie 0.05 + 0.05 from that of its printed folds.
TOLERANCE = 0.1
EVERY = [(number, row) for number, table in published.TABLES.items() for row in table.rows]
SCL = {
    (1, "ours-SCL (CANet)", "resnet50"): (57.5, 59.2),
    (1, "ours-SCL (PFENet)", "resnet50"): (61.8, 62.9),
    (2, "ours-SCL (PFENet)", "resnet101"): (37.0, 39.9),
    (3, "ours-SCL (CANet)", "resnet50"): (70.3, 70.7),
    (3, "ours-SCL (PFENet)", "resnet50"): (71.9, 72.8),
}


def means(number: int, method: str, backbone: str) -> tuple[float, float]:
    row = published.published_row(number, method, backbone)
    return row.one.mean, row.five.mean


# Rows, figures and their sum in tenths, counted on the text of the paper and not on this data.
@pytest.mark.parametrize(
    "number, rows, figures, tenths", [(1, 13, 122, 67876), (2, 5, 42, 13526), (3, 4, 7, 4929)]
)
def test_no_row_and_no_figure_is_missing(number, rows, figures, tenths):
    table = published.quoted(number)
    assert len(table.rows) == len({(row.method, row.backbone) for row in table.rows}) == rows
    found = [x for row in table.rows for x in printed(row, number < 3)[2:] if x != "-"]
    assert len(found) == figures
    assert sum(round(10 * float(x)) for x in found) == tenths


def test_means_are_those_of_the_folds_but_for_the_named_ones():
    off = []
    for number, row in EVERY:
        for shots, scores in ((1, row.one), (5, row.five)):
            assert len(scores.folds) in (0, FOLDS)
            if scores.folds:
                mean = sum(scores.folds) / FOLDS
                if abs(mean - scores.mean) > TOLERANCE + 1e-9:
                    off.append((number, row.method, row.backbone, shots, scores.mean, mean))
    assert [o[:5] for o in off] == [o[:5] for o in published.OFF_MEANS]
    assert [o[5] for o in off] == pytest.approx([o.of_folds for o in published.OFF_MEANS])


def test_scl_rows_have_the_scores_that_the_paper_claims():
    found = {
        (n, row.method, row.backbone): (row.one.mean, row.five.mean)
        for n, row in EVERY
        if row.method.startswith("ours-SCL")
    }
    assert found == SCL
    for number, table in published.TABLES.items():  # "new state-of-the-art": the last row leads
        for scores in zip(*((r.one.mean or 0, r.five.mean or 0) for r in table.rows), strict=True):
            assert scores[-1] == max(scores) and scores.count(max(scores)) == 1, number


@pytest.mark.parametrize(
    "number, scl, other, backbones, shots, gain",
    [
        (1, "ours-SCL (CANet)", "CANet", ("resnet50", "resnet50"), 1, 2.1),
        (1, "ours-SCL (PFENet)", "PFENet", ("resnet50", "resnet50"), 1, 1.0),
        (2, "ours-SCL (PFENet)", "PFENet", ("resnet101", "resnet101"), 1, 4.6),
        (2, "ours-SCL (PFENet)", "PPNet", ("resnet101", "resnet50"), 5, 1.4),
        (3, "ours-SCL (CANet)", "CANet", ("resnet50", "resnet50"), 1, 4.1),
        (3, "ours-SCL (CANet)", "CANet", ("resnet50", "resnet50"), 5, 1.1),
    ],
)
def test_gains_of_section_5_3_follow_from_the_rows(number, scl, other, backbones, shots, gain):
    at = (1, 5).index(shots)
    high, low = (means(number, m, b)[at] for m, b in zip((scl, other), backbones, strict=True))
    assert high - low == pytest.approx(gain)


def test_quoted_ablations_agree_with_the_main_tables():
    one, five = published.ABLATIONS["4, one shot"], published.ABLATIONS["4, five shots"]
    scl = [means(number, "ours-SCL (CANet)", "resnet50") for number in (1, 3)]
    assert [one[-1].paper, five[-1].paper] == list(zip(*scl, strict=True))
    canet = [means(number, "CANet", "resnet50") for number in (1, 3)]
    assert one[0].paper == (canet[0][0], canet[1][0])
    assert five[0].paper != (canet[0][1], canet[1][1])  # as results/README.md says


@pytest.mark.parametrize("number", published.TABLES)
def test_a_table_names_its_source_and_every_row(number):
    text = published_table(number)
    first = text.splitlines()[0]
    assert first.startswith("Published numbers") and "not computed here" in first
    assert f"its Table {number}," in first and "CVPR 2021" in first and "Section 5.3" in first
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(published.quoted(number).rows)
    assert len({line.count("|") for line in rows}) == 1
    assert (r"\* The paper's note" in text) == any(r.mark for r in published.quoted(number).rows)


def test_figures_are_printed_as_quoted():
    text = published_table(1)
    last = "| 63.0 | 70.0 | 56.5 | 57.7 | 61.8 | 64.5 | 70.9 | 57.3 | 58.7 | 62.9 |"
    assert f"| ours-SCL (PFENet) | resnet50 {last}" in text
    assert (
        "| CRNet (CVPR'20) [16] | resnet50 | - | - | - | - | 55.7 | - | - | - | - | 58.8 |" in text
    )
    assert "RPMMs, 1-shot, has the mean 56.3" in text
    assert r"| PFENet\* (TPAMI'20) [27] | resnet50 | 71.4 | - |" in published_table(3)


def test_a_column_can_stand_beside_the_quoted_ones():
    ours = {"measured here": {("CANet", "resnet50"): "12.3"}}
    rows = [s for s in published_table(3, ours).splitlines() if s.startswith("|")]
    assert rows[0].endswith("| measured here |") and rows[2].endswith("| 69.6 | 12.3 |")
    assert all(row.endswith("|  |") for row in rows[3:])
    with pytest.raises(ValueError, match="no row CANet, vgg16; it has: CANet, resnet50"):
        published_table(3, {"measured here": {("CANet", "vgg16"): "12.3"}})


def test_every_cited_method_has_its_reference():
    cited = {row.reference for _, row in EVERY} - {None}
    assert cited == set(published.REFERENCES)
    assert all((row.reference is None) == row.method.startswith("ours-") for _, row in EVERY)
    assert published.references().count("\n") == len(cited) - 1
    assert [line[:6] for line in published.references(3).splitlines()] == ["- [27]", "- [35]"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_command_prints_a_table_with_its_references(number, capsys):
    assert main(["table", "--paper", str(number)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(published_table(number))
    assert said.rstrip().endswith(published.references(number))


@pytest.mark.parametrize("number", ["0", "4", "-1"])
def test_a_table_that_is_not_there_is_one_kind_line(number, capsys):
    assert main(["table", "--paper", number]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "there are Tables 1, 2 and 3" in said.err


def evaluation(name: str, miou: float = 0.5, fb_iou: float = 0.5, **protocol) -> dict:
    """A record as `evaluate` writes it, of what a file's name says."""
    shots = 5 if "5shot" in name else 1
    evaluated = {
        "data": {"kind": "Coco20i" if name.startswith("coco") else "Pascal5i"},
        "model": {
            "head": {"kind": "CANetHead" if "canet" in name else "PFENetHead"},
            "backbone": {"kind": "ResNet", "depth": 101 if name.startswith("coco") else 50},
            "guidance": {"vectors": ["pri", "aux"] if "scl" in name else ["s"]},
        },
        "protocol": {
            "shots": shots,
            "episodes": 1000,
            "seeds": [0, 1, 2, 3, 4],
            "fusion": "cross",
            "fit": {"method": "native" if "canet" in name else "exact"},
        }
        | protocol,
    }
    return {"miou": miou, "fb_iou": fb_iou, "evaluated": evaluated}


def test_a_record_of_another_depth_is_refused(tmp_path):
    path = tmp_path / "benchmarks" / "pascal-scl-pfenet-f0-1shot.json"
    path.parent.mkdir()
    record = evaluation(path.stem)
    record["evaluated"]["model"]["backbone"]["depth"] = 101
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="depth of the backbone is 101"):
        own_scores(1, tmp_path)


@pytest.mark.parametrize(
    ("of", "protocol", "said"),
    [
        ("coco-pfenet-f0-1shot", {}, "data set"),
        ("pascal-scl-canet-f0-1shot", {}, "head"),
        ("pascal-pfenet-f0-1shot", {}, "vectors"),
        ("pascal-scl-pfenet-f0-5shot", {}, "shots"),
        ("pascal-scl-pfenet-f0-1shot", {"episodes": 40}, "episodes"),
        ("pascal-scl-pfenet-f0-1shot", {"fusion": "average"}, "fusion"),
        ("pascal-scl-pfenet-f0-1shot", {"fusion": "vectors"}, "fusion"),
        ("pascal-scl-pfenet-f0-1shot", {"fit": {"method": "native"}}, "resize"),
    ],
)
def test_a_record_that_is_not_what_its_name_says_is_refused(tmp_path, of, protocol, said):
    path = tmp_path / "benchmarks" / "pascal-scl-pfenet-f0-1shot.json"
    path.parent.mkdir()
    path.write_text(json.dumps(evaluation(of, **protocol)))
    with pytest.raises(ValueError, match=said):
        own_scores(1, tmp_path)


@pytest.mark.parametrize(
    ("asked", "reading", "walk", "said"),
    [
        ("", None, None, None),  # as older records are
        ("", "paper", "uniform", None),
        ("", "released", "uniform", "as is 'released', and a record of this name has 'paper'"),
        ("", "paper", "released", "walk is 'released', and a record of this name has 'uniform'"),
        ("-released", "released", "released", None),
        ("-released", "paper", "released", "as is 'paper'"),
        ("-released", None, "released", "as is 'paper'"),
        ("-released", "released", "uniform", "walk is 'uniform'"),
        ("-released", "released", "released-pairs", "walk is 'released-pairs'"),
    ],
)
def test_a_record_of_the_other_form_is_refused(tmp_path, asked, reading, walk, said):
    path = tmp_path / "benchmarks" / f"pascal-scl-pfenet{asked}-f0-1shot.json"
    path.parent.mkdir()
    fit = {"method": "released" if asked else "exact"}
    record = evaluation(path.stem, 0.6, fit=fit, **({"walk": walk} if walk else {}))
    record["evaluated"] |= {"as": reading} if reading else {}
    path.write_text(json.dumps(record))
    if said is None:
        heading = "here, as released, 1-shot" if asked else "here, 1-shot"
        found = {name: column for name, column in own_scores(1, tmp_path).items() if column}
        scl = ("ours-SCL (PFENet)", "resnet50")
        assert found == {heading: {scl: "60.0 (1 of 4 folds)"}}
        assert heading in published_table(1, own_scores(1, tmp_path))
    else:
        with pytest.raises(ValueError, match=said):
            own_scores(1, tmp_path)


def test_the_released_rows_have_their_own_walks(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    path = tmp_path / "benchmarks" / "pascal-canet-released-f1-5shot.json"
    record = evaluation(path.stem, fusion="average", walk="released-pairs")
    record["evaluated"]["as"] = "released"
    path.write_text(json.dumps(record))
    assert own_scores(1, tmp_path)["here, as released, 5-shot"]
    assert set(own_scores(2, tmp_path)) == {"here, 1-shot", "here, 5-shot"}


@pytest.mark.parametrize(
    ("name", "fusion"),
    [
        ("pascal-canet", "average"),
        ("pascal-scl-canet", "cross"),
        ("pascal-pfenet", "vectors"),
        ("pascal-scl-pfenet", "cross"),
        ("coco-pfenet", "vectors"),
        ("coco-scl-pfenet", "cross"),
    ],
)
def test_five_shots_are_fused_as_the_row_has_it(tmp_path, name, fusion):
    (tmp_path / "benchmarks").mkdir()
    path = tmp_path / "benchmarks" / f"{name}-f0-5shot.json"
    for other in ("cross", "average", "vectors"):
        path.write_text(json.dumps(evaluation(path.stem, fusion=other)))
        table = 2 if name.startswith("coco") else 1
        if other == fusion:
            assert own_scores(table, tmp_path)["here, 5-shot"]
        else:
            with pytest.raises(ValueError, match="fusion"):
                own_scores(table, tmp_path)


def test_one_support_leaves_nothing_to_fuse(tmp_path):
    """Evaluations of one shot said "cross" of every model before recipes had their own."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("pascal-canet", "pascal-pfenet"):
        path = tmp_path / "benchmarks" / f"{name}-f0-1shot.json"
        path.write_text(json.dumps(evaluation(path.stem)))
    assert len(own_scores(1, tmp_path)["here, 1-shot"]) == 2


def test_our_evaluations_stand_beside_the_published_rows(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()

    def put(name, miou, fb_iou=0.5, **protocol):
        (folder / f"{name}.json").write_text(json.dumps(evaluation(name, miou, fb_iou, **protocol)))

    assert not any(own_scores(1, tmp_path).values())
    for fold in range(4):
        put(f"pascal-scl-pfenet-f{fold}-1shot", 0.6 + fold / 100, 0.7)
    put("pascal-canet-f2-5shot", 0.5, fusion="average")
    put("coco-pfenet-f0-1shot", 0.3)
    put("notes", 0.9)
    scl, canet = ("ours-SCL (PFENet)", "resnet50"), ("CANet", "resnet50")
    assert own_scores(1, tmp_path) == {
        "here, 1-shot": {scl: "61.5"},
        "here, 5-shot": {canet: "50.0 (1 of 4 folds)"},
    }
    assert own_scores(2, tmp_path)["here, 1-shot"] == {
        ("PFENet", "resnet101"): "30.0 (1 of 4 folds)"
    }
    assert own_scores(3, tmp_path)["here, 1-shot"] == {scl: "70.0"}
    table = published_table(1, own_scores(1, tmp_path))
    (row,) = [r for r in table.splitlines() if "ours-SCL (PFENet)" in r and r.startswith("|")]
    assert row.endswith("| 61.5 |  |")


@pytest.mark.parametrize("recipe", ROWS_OF_RECIPES)
def test_every_recipe_of_the_paper_has_its_row(recipe):
    table, method, backbone = ROWS_OF_RECIPES[recipe]
    assert published.published_row(table, method, backbone)
    assert recipe in recipes()
    assert all(name in ROWS_OF_RECIPES for name in recipes() if not name.startswith("toyshop"))
