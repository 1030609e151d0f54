"""What makes a stored notebook stale, on notebooks of a cell or two."""

import base64
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from scl.course import draw
from tests.helpers.truth import differences, figure_differences

# ------------------------------------------------------------------ notebooks


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)}


def shown(mime, value, alt=""):
    metadata = {mime: {"alt": alt}} if alt else {}
    return {"output_type": "display_data", "data": {mime: value}, "metadata": metadata}


def cell(source, *outputs, tags=()):
    """A code cell as the normal form holds one."""
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "metadata": metadata, "outputs": list(outputs), "source": [source]}


def book(*cells):
    text = {"cell_type": "markdown", "metadata": {}, "source": ["# A title"]}
    return {"cells": [text, *cells], "metadata": {}}


def compared(old, new, *tags):
    """What is said of one cell with these outputs, then and now."""
    was, now = (book(cell("run()\nmore", *out, tags=tags)) for out in (old, new))
    return differences(was, now)


def test_a_notebook_agrees_with_itself():
    one = book(cell("a", printed("1\n")), cell("b", shown("text/markdown", ["| 2 |"])))
    assert differences(one, one) == []


def test_stale_text_is_named_with_its_cell_and_both_wordings():
    assert differences(
        book(cell("a"), cell("cuts = 3\ncuts", printed("IoU 0.76\nsame\n"))),
        book(cell("a"), cell("cuts = 3\ncuts", printed("IoU 0.75\nsame\n"))),
    ) == ["stale: cell 2 `cuts = 3`: printed text differs: stored 'IoU 0.76', now 'IoU 0.75'"]


def test_stale_tables_and_descriptions_are_found():
    assert (
        "text/markdown differs"
        in compared([shown("text/markdown", ["| 13.0 |"])], [shown("text/markdown", ["| 13.1 |"])])[
            0
        ]
    )
    assert (
        "(alt) differs"
        in compared(
            [shown("text/plain", "x", alt="two bars")], [shown("text/plain", "x", alt="a bar")]
        )[0]
    )


def test_a_long_line_is_shown_around_the_place_and_further_lines_are_counted():
    (said,) = compared([printed("x" * 200 + "1\na\n")], [printed("x" * 200 + "2\nb\nc\n")])
    assert "xxx1'" in said and "xxx2'" in said and len(said) < 300
    assert said.endswith("(and 2 more lines)")


@pytest.mark.parametrize("tags", [(), ("trained",), ("timed",)])
def test_a_missing_output_and_another_order_are_found(tags):
    text, table = printed("a\n"), shown("text/markdown", ["b"])
    missing = "stored text on stdout; display_data + text/markdown, now text on stdout"
    assert missing in compared([text, table], [text], *tags)[0]
    assert "kinds of outputs differ" in compared([text, table], [table, text], *tags)[0]
    assert "now none" in compared([text], [], *tags)[0]


def test_an_added_a_removed_and_an_edited_cell_are_named():
    a, b, c = (cell(name, printed(name)) for name in "abc")
    assert differences(book(a, c), book(a, b, c)) == [
        "stale: cell 2 `b`: it is in the fresh run, but not stored"
    ]
    assert differences(book(a, b, c), book(a, c)) == [
        "stale: cell 2 `b`: it is stored, but not in the fresh run"
    ]
    assert differences(book(a, b), book(a, c)) == [
        "stale: cell 2 `b`: its source differs: stored 'b', now 'c'"
    ]


def test_all_that_differs_is_told_at_once():
    was = book(cell("a", printed("1")), cell("b", printed("2"), printed("3", "stderr")))
    now = book(cell("a", printed("4")), cell("b", printed("5"), printed("6", "stderr")))
    assert [line.split(":")[1] for line in differences(was, now)] == [
        " cell 1 `a`", " cell 2 `b`", " cell 2 `b`"
    ]  # fmt: skip


# ------------------------------------------------------------------ trained and timed cells

TRAINED = "gain +1.6 [-1.7, +4.9] after  9 steps\n"


@pytest.mark.parametrize("tag", ["trained", "timed"])
@pytest.mark.parametrize("value", ["-1.7", "0", "+4.90", "3e-05"])
def test_a_trained_number_inside_its_stored_interval_is_accepted(tag, value):
    now = f"gain {value} [-9.0, -8.0] after 12 steps\n"
    assert compared([printed(TRAINED)], [printed(now)], tag) == []
    assert compared([printed(TRAINED)], [printed(now)]) != []


@pytest.mark.parametrize("value", ["-1.8", "\N{MINUS SIGN}1.8", "+5"])
def test_a_trained_number_outside_its_stored_interval_is_told(value):
    now = f"gain {value} [-9.0, 9.0] after 9 steps\n"
    (said,) = compared([printed(TRAINED)], [printed(now)], "trained")
    assert f"{value} lies outside the interval of the stored +1.6 [-1.7, +4.9]" in said


def test_each_interval_belongs_to_the_number_before_it():
    was = "3 runs: 10 % [8, 12], then 50 [40, 60]; verdict 9 [9, 9]\n1 [0, 2]\n"
    now = "7 runs: 12 % [0, 1], then 39.9 [0, 1]; verdict\n2 [0, 1]\n"
    (said,) = compared([printed(was)], [printed(now)], "trained")
    assert "39.9 lies outside the interval of the stored 50 [40, 60]" in said


def test_the_words_of_a_trained_cell_stay_except_for_its_verdict():
    was, now = "mIoU  3.1\nverdict: better\n", "mIoU 12.4\nverdict: no clear difference\n"
    assert compared([printed(was)], [printed(now)], "trained") == []
    (said,) = compared([printed("3 found\n")], [printed("4 lost\n")], "trained")
    assert "stored '<#>found', now '<#>lost'" in said
    assert compared([printed("mIoU 3.1")], [printed("mIoU nan")], "trained") != []


def test_controls_of_a_trained_cell_have_the_same_note():
    note, other = shown("text/plain", ["(a control)"]), shown("text/plain", ["IntSlider()"])
    assert compared([note], [note], "trained") == []
    assert compared([note], [other], "trained") != []


# ------------------------------------------------------------------ figures


def encoded(data):
    return base64.b64encode(data).decode()


def recoded(data, **options):
    """The same picture through JPEG once more."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "jpeg", **options)
    return buffer.getvalue()


def bar_chart(height=90.0, label="90"):
    """Two groups of bars, the first bar with any height and any label."""
    groups = {"shade": {"kept": height, "found": 50}, "pole": {"kept": 80, "found": 20}}
    figure = draw.bars(groups, "pixels (%)")
    figure.axes[0].texts[0].set_text(label)
    return draw.to_bytes(figure)


def region_panels(titles=("primary: 65 % found", "lost"), moved=False):
    """Two tinted pictures under their titles; `moved` shifts the region by one cell of 16."""
    y, x = np.mgrid[:128, :128]
    picture = np.stack([y + 60, x + 60, 200 - x], axis=2).clip(0, 255).astype(np.uint8)
    mask = np.zeros((16, 16))
    mask[5:9, 4 + moved : 11 + moved] = 1
    both = [draw.overlay(picture, {draw.FOUND: mask}), picture]
    return draw.to_bytes(draw.panels(both, titles))


def falling(rate=0.05):
    history = [{"q": float(np.exp(-rate * i))} for i in range(100)]
    return draw.to_bytes(draw.curves(history, ["q"]))


def row(value=70.0, label="70.0"):
    figure = draw.whiskers({"one": (value, 60, 80), "two": (75, 70, 81)}, "IoU (%)")
    figure.axes[0].texts[0].set_text(label)
    return draw.to_bytes(figure)


def told(old, new):
    return figure_differences(encoded(old), encoded(new), exact=True)


@pytest.mark.parametrize("picture", [bar_chart, region_panels, falling, row])
@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 75}, {"quality": 60}])
def test_compression_changes_no_figure(picture, options):
    assert told(picture(), recoded(picture(), **options)) == []
    assert told(picture(), recoded(picture(), subsampling=0, **options)) == []


def test_one_other_digit_in_the_smallest_letters_is_seen():
    charts = {digit: bar_chart(label="9" + digit) for digit in "0123456789"}
    for one, other in itertools.combinations(charts, 2):
        assert told(charts[one], charts[other]), f"9{one} passes for 9{other}"


@pytest.mark.parametrize(
    "old,new",
    [
        (bar_chart(90), bar_chart(89.5)),
        (row(70), row(70.3)),
        (falling(0.05), falling(0.053)),
        (region_panels(), region_panels(("primary: 66 % found", "lost"))),
        (region_panels(), region_panels(moved=True)),
    ],
    ids=["bar", "dot", "curve", "title", "region"],
)
def test_a_small_change_of_a_figure_is_seen(old, new):
    (said,) = told(old, new)
    assert "grey levels" in said and "from the left" in said


def test_a_faint_change_of_a_whole_area_is_seen():
    grey = np.full((60, 60, 3), 100, np.uint8)
    lighter = grey.copy()
    lighter[20:50, 20:50] += 20
    old, new = (draw.to_bytes(draw.panels([p], ["x"])) for p in (grey, lighter))
    assert told(old, new)


def test_a_stale_figure_is_told_and_a_trained_one_only_keeps_its_size():
    old, new, wide = (
        [shown("image/jpeg", encoded(data))]
        for data in (falling(0.05), falling(0.1), region_panels())
    )
    assert "the figure differs by" in compared(old, new)[0]
    assert compared(old, new, "trained") == []
    for tags in ((), ("trained",)):
        assert "size differs: stored 600 x 300, now 380 x 220" in compared(old, wide, *tags)[0]


def test_figures_of_another_matplotlib_are_not_compared():
    was, now = (
        book(cell("a", shown("image/jpeg", encoded(data)))) for data in (falling(), bar_chart())
    )
    assert differences(was, now) and differences(was, now, drawn_alike=False) == []


def test_a_png_and_a_figure_smaller_than_a_square_are_compared_too():
    tiny = [np.full((2, 3, 3), level, np.uint8) for level in (0, 200)]
    files = []
    for picture in tiny:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        files.append(buffer.getvalue())
    assert told(files[0], files[0]) == [] and told(*files)
