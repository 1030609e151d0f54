"""Archives of the published data sets: fetched, unpacked, verified."""
