"""Bench: what the package costs on a machine, measured as ratios within one run.

It may import every room below it; only the command line imports it.
"""
