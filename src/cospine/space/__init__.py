"""Where things are: grids, images, transforms, and the one interpolation."""
