"""Line protocol: usual lines and lines with every escape, values of every type, times at the edges."""

from hypothesis import strategies as st

from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from tests.conformance.payloads import Payloads, Sent

_TOPIC = b"telegraf/gateway/press"
_NAMES = st.sampled_from(["press", "m=1", r"oil\ temp", r"a\,b", r"c\=d", r"e\f", "", "ä", '"', "x" * 300, "#", "\t"])
_NUMBERS = ["1", "-2.5", "1e3", ".5", "5.", "12i", "12u", "-3i", "1_0", "1_0i", "i", "0x1", "nan", "Inf", "1e400"]
_OTHERS = [
    "t",
    "False",
    "maybe",
    '"a b"',
    '"a,\\"b\\"=\\\\"',
    '"a\nb"',
    '"',
    '""',
    "",
    " ",
    "\x1c1",
    "1=2",
    "9" * 400 + "i",
]
_VALUES = st.sampled_from(_NUMBERS) | st.sampled_from(_OTHERS)
_STAMPS = [us * scale + more for us in (MIN_TS_US, MAX_TS_US) for scale in (1_000, 1) for more in (-1, 0, 1)]
_TIMES = st.sampled_from(
    ["", " 1700000000000000000", " 1700000000", " -1", " 1.5", " 0", " 9" * 20, *(f" {t}" for t in _STAMPS)]
)
_PAIRS = st.builds("{}={}".format, _NAMES, _VALUES)
_LINES = st.builds(
    lambda name, tags, gap, fields, time, end: ",".join([name, *tags]) + gap + ",".join(fields) + time + end,
    _NAMES,
    st.lists(st.builds("{}={}".format, _NAMES, _NAMES), max_size=2),
    st.sampled_from([" ", " ", "  ", ""]),
    st.lists(_PAIRS, max_size=3),
    _TIMES,
    st.sampled_from(["\n", "\r\n", "", " \n", "\n\n# a comment\n"]),
)
_USUAL_LINES = st.builds(
    "press,machine={} {}={}{}\n".format, st.sampled_from("abc"), st.sampled_from(["t", "p"]), _VALUES, _TIMES
)
_MESSAGES: st.SearchStrategy[Sent] = st.builds(
    lambda lines: (_TOPIC, "".join(lines).encode()), st.lists(_LINES | _USUAL_LINES, min_size=1, max_size=3)
)

_HOSTILE = [
    b"\n",
    b"# only a comment\n",
    b"press",
    b"press ",
    b"press t",
    b"press t=",
    b"press t=1,",
    b"press =1",
    b"press, t=1",
    b"press,a t=1",
    b"press,a= t=1",
    b"press,=b t=1",
    b"press,a=b=c t=1",
    b"press t=1 2 3",
    b" press t=1",
    b",a=b t=1",
    b"press t=1\x00",
    b'press t="',
    b'press t="a\nb",u=1\npress t=2',
    b'press t="a',
    b'press t="a"b',
    b'# a "comment\npress t=1',
    b"press t=1\n\xff\n",
    b"press t=" + b"9" * 5_000,
    b"press t=" + b"9" * 5_000 + b"i",
    b"press t=1 " + b"9" * 5_000,
    b"press " + b"t=1," * 20_000 + b"t=1",
    b"press t=1\n" * 20_000,
    b'press t="' + b'\\"=' * 100_000,
    b"press" + b"\\ " * 100_000,
    b"press" + b",a" * 100_000,
    "press t=١".encode(),
    "press t=1".encode("utf-16"),
]

KNOWN = Payloads(
    options=[
        {},
        {"name": "{tag.machine}/{measurement}.{field}", "time_unit": "auto"},
        {"time_unit": "s", "max_lines": 2, "max_fields": 2, "max_name": 8},
    ],
    topics=[_TOPIC],
    usual=b"press,machine=a t=21.5,p=3i 1700000000000000000\n",
    hostile=_HOSTILE,
    drawn=_MESSAGES,
)
