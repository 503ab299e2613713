"""From a minute of listening to a first configuration.

`listen.py` hears (the only part with I/O), `heard.py` keeps a bounded sample, and everything else is pure: payloads →
formats (`formats/`, a table of detectors), topics → shapes, what the drafted decoders read → kinds, all of it → a draft
and its text, which is tried on what was heard.
"""
