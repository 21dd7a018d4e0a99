"""Posts -> benchmark datasets and annotation. May import `corpus`."""
