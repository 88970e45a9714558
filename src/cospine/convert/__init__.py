"""Scanner output to BIDS: DICOM, recordings of pulse and breathing, and logs of the task."""
