"""The digital participant: anatomy, physics, physiology and the truth behind the images."""
