"""Model and benchmark -> report. May import `pretrain`, `labeling` and `corpus`."""
