"""Shards -> checkpoint -> Hugging Face model. May import `corpus`."""
