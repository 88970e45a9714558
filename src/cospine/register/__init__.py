"""Registration kernels that motion, field and anatomy share."""
