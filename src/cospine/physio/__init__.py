"""Pulse and breathing: recordings, where they lie in time, their peaks and phases, and the noise model that follows."""
