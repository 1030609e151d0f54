"""Tables 1, 2 and 3 of the SCL paper, quoted figure by figure: nothing here was computed by us.

All three stand in Section 5.3, on the seventh page, as the reference list tells: it gives the pages
on which an entry is cited, [31] is cited in Table 1 alone and on page 7 alone, and [35], cited in
Table 3 and once more below it, on no later page. A figure that does not fit its neighbours stays as
it was printed, and OFF_MEANS names it. `scl.study.tables.published_table` prints a table.
"""

from __future__ import annotations

from typing import NamedTuple

from scl.datasets.folds import FOLDS

PAPER = (
    "Bingfeng Zhang, Jimin Xiao and Terry Qin. Self-Guided and Cross-Guided Learning for Few-Shot "
    "Segmentation. CVPR 2021"
)


class Scores(NamedTuple):
    """Percentages for one number of shots; None, and no folds, where the paper prints a dash."""

    mean: float | None = None
    folds: tuple[float, ...] = ()


class Published(NamedTuple):
    """A row as printed: method, venue and number in the paper's reference list, backbone, scores.

    A row of the paper's own has neither venue nor reference. mark: a sign that a note explains.
    """

    method: str
    venue: str
    reference: int | None
    backbone: str
    one: Scores
    five: Scores
    mark: str = ""


class Table(NamedTuple):
    """A table of the paper: its data, measure, place in the paper, rows, and the note below it."""

    data: str
    measure: str
    place: str
    rows: tuple[Published, ...]
    note: str = ""


class OffMean(NamedTuple):
    """A printed mean that its own printed folds do not give."""

    table: int
    method: str
    backbone: str
    shots: int
    printed: float
    of_folds: float


# Folds and means are rounded to 0.1, so a mean may lie 0.05 + 0.05 from that of its printed folds.
TOLERANCE = 0.1

OFF_MEANS = (
    OffMean(1, "RPMMs", "resnet50", 1, 56.3, 56.1),
    OffMean(2, "FWB", "resnet101", 1, 21.2, 21.95),
)

_PASCAL = (
    Published(
        "OSLSM", "BMVC'17", 23, "vgg16",
        Scores(40.8, (33.6, 55.3, 40.9, 33.5)), Scores(44.0, (35.9, 58.1, 42.7, 39.1)),
    ),
    Published(
        "SG-One", "", 36, "vgg16",
        Scores(46.3, (40.2, 58.4, 48.4, 38.4)), Scores(47.1, (41.9, 58.6, 48.6, 39.4)),
    ),
    Published(
        "PANet", "ICCV'19", 30, "vgg16",
        Scores(48.1, (42.3, 58.0, 51.1, 41.2)), Scores(55.7, (51.8, 64.6, 59.8, 46.5)),
    ),
    Published(
        "PGNet", "ICCV'19", 34, "resnet50",
        Scores(56.0, (56.0, 66.9, 50.6, 50.4)), Scores(58.5, (57.7, 68.7, 52.9, 54.6)),
    ),
    Published("CRNet", "CVPR'20", 16, "resnet50", Scores(55.7), Scores(58.8)),
    Published(
        "RPMMs", "ECCV'20", 31, "resnet50",
        Scores(56.3, (55.2, 65.9, 52.6, 50.7)), Scores(57.3, (56.3, 67.3, 54.5, 51.0)),
    ),
    Published(
        "FWB", "ICCV'19", 19, "resnet101",
        Scores(56.2, (51.3, 64.5, 56.7, 52.2)), Scores(59.9, (54.8, 67.4, 62.2, 55.3)),
    ),
    Published(
        "PPNet", "ECCV'20", 17, "resnet50",
        Scores(51.5, (47.8, 58.8, 53.8, 45.6)), Scores(62.0, (58.4, 67.8, 64.9, 56.7)), "*",
    ),
    Published(
        "DAN", "ECCV'20", 29, "resnet101",
        Scores(58.2, (54.7, 68.6, 57.8, 51.6)), Scores(60.5, (57.9, 69.0, 60.1, 54.9)),
    ),
    Published(
        "CANet", "CVPR'19", 35, "resnet50",
        Scores(55.4, (52.5, 65.9, 51.3, 51.9)), Scores(57.1, (55.5, 67.8, 51.9, 53.2)),
    ),
    Published(
        "PFENet", "TPAMI'20", 27, "resnet50",
        Scores(60.8, (61.7, 69.5, 55.4, 56.3)), Scores(61.9, (63.1, 70.7, 55.8, 57.9)),
    ),
    Published(
        "ours-SCL (CANet)", "", None, "resnet50",
        Scores(57.5, (56.8, 67.3, 53.5, 52.5)), Scores(59.2, (59.5, 68.5, 54.9, 53.7)),
    ),
    Published(
        "ours-SCL (PFENet)", "", None, "resnet50",
        Scores(61.8, (63.0, 70.0, 56.5, 57.7)), Scores(62.9, (64.5, 70.9, 57.3, 58.7)),
    ),
)  # fmt: skip

_COCO = (
    Published(
        "FWB", "ICCV'19", 19, "resnet101",
        Scores(21.2, (19.9, 18.0, 21.0, 28.9)), Scores(23.7, (19.1, 21.5, 23.9, 30.1)),
    ),
    Published(
        "PPNet", "ECCV'20", 17, "resnet50",
        Scores(29.0, (28.1, 30.8, 29.5, 27.7)), Scores(38.5, (39.0, 40.8, 37.1, 37.3)),
    ),
    Published("DAN", "ECCV'20", 29, "resnet101", Scores(24.4), Scores(29.6)),
    Published(
        "PFENet", "TPAMI'20", 27, "resnet101",
        Scores(32.4, (34.3, 33.0, 32.3, 30.1)), Scores(37.4, (38.5, 38.6, 38.2, 34.3)),
    ),
    Published(
        "ours-SCL (PFENet)", "", None, "resnet101",
        Scores(37.0, (36.4, 38.6, 37.5, 35.4)), Scores(39.9, (38.9, 40.5, 41.5, 38.7)),
    ),
)  # fmt: skip

_FB = (
    Published("CANet", "CVPR'19", 35, "resnet50", Scores(66.2), Scores(69.6)),
    Published("PFENet", "TPAMI'20", 27, "resnet50", Scores(71.4), Scores(), "*"),
    Published("ours-SCL (CANet)", "", None, "resnet50", Scores(70.3), Scores(70.7)),
    Published("ours-SCL (PFENet)", "", None, "resnet50", Scores(71.9), Scores(72.8)),
)

_PLACE = "Section 5.3, page 7"
TABLES = {
    1: Table(
        "PASCAL-5^i",
        "mIoU",
        _PLACE,
        _PASCAL,
        "We report the performance without extra unlabeled support data.",
    ),
    2: Table("COCO-20^i", "mIoU", _PLACE, _COCO),
    3: Table(
        "PASCAL-5^i",
        "FB-IoU",
        _PLACE,
        _FB,
        "The result is generated using models provided by the author.",
    ),
}

# The entries of the paper's reference list for these methods, as they are printed.
REFERENCES = {
    16: "Weide Liu, Chi Zhang, Guosheng Lin, and Fayao Liu. Crnet: Cross-reference networks for "
    "few-shot segmentation. In Proceedings of the IEEE Conference on Computer Vision and Pattern "
    "Recognition, pages 4165–4173, 2020.",
    17: "Yongfei Liu, Xiangyi Zhang, Songyang Zhang, and Xuming He. Part-aware prototype network "
    "for few-shot semantic segmentation. arXiv preprint arXiv:2007.06309, 2020.",
    19: "Khoi Nguyen and Sinisa Todorovic. Feature weighting and boosting for few-shot "
    "segmentation. In Proceedings of the IEEE International Conference on Computer Vision, pages "
    "622–631, 2019.",
    23: "Amirreza Shaban, Shray Bansal, Zhen Liu, Irfan Essa, and Byron Boots. One-shot learning "
    "for semantic segmentation. arXiv preprint arXiv:1709.03410, 2017.",
    27: "Zhuotao Tian, Hengshuang Zhao, Michelle Shu, Zhicheng Yang, Ruiyu Li, and Jiaya Jia. "
    "Prior guided feature enrichment network for few-shot segmentation. IEEE Transactions on "
    "Pattern Analysis and Machine Intelligence, 2020.",
    29: "Haochen Wang, Xudong Zhang, Yutao Hu, Yandan Yang, Xianbin Cao, and Xiantong Zhen. "
    "Few-shot semantic segmentation with democratic attention networks. In Proceedings of the "
    "European Conference on Computer Vision, 2020.",
    30: "Kaixin Wang, Jun Hao Liew, Yingtian Zou, Daquan Zhou, and Jiashi Feng. Panet: Few-shot "
    "image semantic segmentation with prototype alignment. In Proceedings of the IEEE "
    "International Conference on Computer Vision, pages 9197–9206, 2019.",
    31: "Boyu Yang, Chang Liu, Bohao Li, Jianbin Jiao, and Qixiang Ye. Prototype mixture models "
    "for few-shot semantic segmentation. arXiv preprint arXiv:2008.03898, 2020.",
    34: "Chi Zhang, Guosheng Lin, Fayao Liu, Jiushuang Guo, Qingyao Wu, and Rui Yao. Pyramid graph "
    "networks with connection attentions for region-based one-shot semantic segmentation. In "
    "Proceedings of the IEEE International Conference on Computer Vision, pages 9587–9595, 2019.",
    35: "Chi Zhang, Guosheng Lin, Fayao Liu, Rui Yao, and Chunhua Shen. Canet: Class-agnostic "
    "segmentation networks with iterative refinement and attentive few-shot learning. In "
    "Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition, pages "
    "5217–5226, 2019.",
    36: "Xiaolin Zhang, Yunchao Wei, Yi Yang, and Thomas S Huang. Sg-one: Similarity guidance "
    "network for one-shot semantic segmentation. IEEE Transactions on Cybernetics, 2020.",
}


def quoted(number: int) -> Table:
    """Table 1, 2 or 3 of the paper."""
    if number not in TABLES:
        raise ValueError(
            f"Table {number} is not quoted as a whole: there are Tables 1, 2 and 3; the figures of "
            "Tables 4 to 6 stand beside our runs (python -m scl table)"
        )
    return TABLES[number]


def published_row(number: int, method: str, backbone: str) -> Published:
    """The row of a method with a backbone, to put another score beside it."""
    rows = {(row.method, row.backbone): row for row in quoted(number).rows}
    if (method, backbone) not in rows:
        names = "; ".join(f"{m}, {b}" for m, b in rows)
        raise ValueError(f"Table {number} has no row {method}, {backbone}; it has: {names}")
    return rows[method, backbone]


def columns(number: int) -> list[str]:
    """The heads of a quoted table's columns."""
    parts = [*(f"fold {fold}" for fold in range(FOLDS)), "mean"]
    parts = parts if _by_fold(number) else [quoted(number).measure]
    return ["method", "backbone", *(f"{shots}-shot {part}" for shots in (1, 5) for part in parts)]


def cells(number: int, row: Published) -> list[str]:
    """A row as text: the method as the paper names it, PANet (ICCV'19) [30], and its figures."""
    venue = f" ({row.venue})" if row.venue else ""
    reference = f" [{row.reference}]" if row.reference else ""
    figures: list[float | None] = []
    for scores in (row.one, row.five):
        folds = (scores.folds or (None,) * FOLDS) if _by_fold(number) else ()
        figures += [*folds, scores.mean]
    name = row.method + row.mark.replace("*", r"\*") + venue + reference
    return [name, row.backbone, *("-" if x is None else f"{x:.1f}" for x in figures)]


def _by_fold(number: int) -> bool:
    return any(row.one.folds or row.five.folds for row in quoted(number).rows)


def source(number: int) -> str:
    """Whose numbers these are: the line above a quoted table."""
    table = quoted(number)
    return (
        f"Published numbers, quoted from the paper, **not computed here**: its Table {number}, "
        f"{table.measure} in % on {table.data} ({table.place}). {PAPER}. The numbers in brackets "
        'are those of its reference list; "ours" is its own word.'
    )


def notes(number: int) -> list[str]:
    """The paper's own note, and which printed means do not fit their folds."""
    table = quoted(number)
    said = [rf"\* The paper's note: {table.note}"] if table.note else []
    return said + [
        f"As printed: {off.method}, {off.shots}-shot, has the mean {off.printed:.1f}, although its "
        f"four folds as printed give {off.of_folds:.2f}."
        for off in OFF_MEANS
        if off.table == number
    ]


def references(*numbers: int) -> str:
    """What the paper's reference list says of the methods in these tables; default: in all."""
    rows = [row for number in numbers or TABLES for row in quoted(number).rows]
    cited = sorted({row.reference for row in rows if row.reference})
    return "\n".join(f"- [{reference}] {REFERENCES[reference]}" for reference in cited)
