"""From a minute of listening to a first configuration.

`listen.py` hears (the only part with I/O), `heard.py` keeps a bounded sample, and everything else is pure: topics →
shapes, payloads → formats (a table of detectors), the decoder that is drafted → values, values → kinds, all of it → a draft and its text.
"""
