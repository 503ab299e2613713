"""From a minute of listening to a first configuration.

`listen.py` hears (the only part with I/O), `heard.py` keeps a bounded sample, and everything else is pure: topics →
shapes, payloads → formats, values → kinds, all of it → a draft and its text.
"""
