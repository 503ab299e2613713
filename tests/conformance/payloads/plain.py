"""Plain values."""

from tests.conformance.payloads import Payloads

KNOWN = Payloads(options=[{}, {"numbers_only": True}, {"decimal_comma": True}], usual=b"21.5")
