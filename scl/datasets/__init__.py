"""Images with masks: Toyshop, folders, PASCAL, COCO and FSS-1000, their folds, resizing, features.

May import device, files, toyshop, method and models.
"""
