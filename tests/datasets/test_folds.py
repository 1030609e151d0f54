import pytest

from scl.datasets.folds import split_classes


@pytest.mark.parametrize("classes", [8, 20, 80])
@pytest.mark.parametrize("held_out", [0, 1, 3])
def test_folds_cover_every_class_once_as_novel_and_never_mix(classes, held_out):
    novel = []
    for fold in range(4):
        split = split_classes(classes, fold, held_out)
        novel += split.novel
        assert len(split.validation) == held_out
        parts = split.base + split.validation + split.novel
        assert sorted(parts) == list(range(classes))
    assert novel == list(range(classes))


def test_bad_folds_are_named():
    with pytest.raises(ValueError, match="fold=4"):
        split_classes(20, 4)
    with pytest.raises(ValueError, match="multiple of 4"):
        split_classes(7, 0)
    with pytest.raises(ValueError, match="held_out=15"):
        split_classes(20, 0, 15)
