"""Statistics: regressors of the task, and what they have in common with what is regressed out."""
