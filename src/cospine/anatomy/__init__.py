"""Brain mask, cord mask: found in the image itself."""
