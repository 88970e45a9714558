"""CoSpine: simultaneous brain and cervical spinal cord fMRI."""

__version__ = "0.1.0"
