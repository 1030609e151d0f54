"""Paint a mask on a photograph of one's own: pixels and runs, the file, the notebook's control."""
