"""The record: events, commands, envelope, canonical codec, validity, topics and lanes.

Knows nothing of any other room. Everything that is written to or read from the log passes here.
"""
