"""Explorers, one in each file: what it shows as a record, its picture, and the controls above it.

A record is plain numbers that tests and chapters can read; the same picture without a control
beside it is the explorer's static twin.
"""
