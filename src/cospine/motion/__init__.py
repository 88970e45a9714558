"""Motion of the brain (rigid), of the cord (slice-wise), and the hand-over between them."""
