"""What is done to the series as a signal: thermal denoising, confounds, regression and cleaning."""
