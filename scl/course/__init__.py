"""What the chapters import: measurements, pictures, explorers, exercise checks, notebook tools.

It may import every room but `scl.__main__`, and nothing imports it.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "explorers.finding": "finding_explorer finding_figure finding_look",
        "explorers.found_lost": "found_lost_explorer found_lost_query_figure found_lost_slider"
        " look rows_figure",
        "explorers.fusion": "fusion_explorer fusion_figure fusion_look",
        "explorers.losses": "loss_explorer loss_figure read_stored",
        "finding": "export first_look first_look_figure found_figure overlap photographs"
        " shown_figure",
        "measure": "angle best_cut depth_in_object first_probability gradient_maps gradient_norms"
        " guide_supports one_of_each_class own_cosine random_split recall_by_part"
        " seen_and_unseen share_by_depth success_median_failure",
        "painter.control": "paint",
        "twocolours": "ONE_COLOUR TWO_COLOURS TwoColours by_average by_two two_colours"
        " two_colours_figure what_we_saw",
        "spoil": "fuse_every_way is_lowest lowest_share other_mask spoiled_batch",
        "worlds": "world",
    },
)
