"""Score a method: on kept features, by the paper's protocol, on your own photographs; intervals.

May import device, files, toyshop, method, models and datasets.
"""
