"""Dump -> dataset -> shards. Read `corpus/build.py` first: it calls every stage once, in order."""
