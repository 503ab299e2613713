"""The protobuf messages of Sparkplug B (specification 3.0.0, 6.4.1), as far as a host reads them.

What is not read (DataSet, Template) or seldom (PropertySet) stays bytes: no message then contains itself, so that no
payload can nest, and one with a bad part loses that part only.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

# Message → field number, name, type; a trailing * repeats, the fields of `value` are one of many.
_MESSAGES = {
    "Payload": "1 timestamp uint64; 2 metrics Metric*; 3 seq uint64",
    "Metric": "1 name string; 2 alias uint64; 3 timestamp uint64; 4 datatype uint32; 5 is_historical bool;"
    "7 is_null bool; 9 properties bytes",
    "PropertySet": "1 keys string*; 2 values PropertyValue*",
    "PropertyValue": "2 is_null bool",
}
_VALUES = {
    "Metric": "10 int_value uint32; 11 long_value uint64; 12 float_value float; 13 double_value double;"
    "14 boolean_value bool; 15 string_value string; 16 bytes_value bytes; 17 dataset_value bytes;"
    "18 template_value bytes",
    "PropertyValue": "3 int_value uint32; 4 long_value uint64; 5 float_value float; 6 double_value double;"
    "7 boolean_value bool; 8 string_value string; 9 propertyset_value bytes; 10 propertysets_value bytes",
}


def _build() -> dict[str, Any]:
    # proto2, as the specification has it: a string that is not UTF-8 then comes as bytes and spoils nothing else.
    file = FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug_b", syntax="proto2")
    for message, fields in _MESSAGES.items():
        into = file.message_type.add(name=message)
        for text, one_of in ((fields, False), (_VALUES.get(message, ""), True)):
            if one_of and text:
                into.oneof_decl.add(name="value")
            for number, name, kind in (line.split() for line in text.split(";") if line):
                field = into.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
                if kind.endswith("*"):
                    field.label = FieldDescriptorProto.LABEL_REPEATED
                if (kind := kind.rstrip("*")) in _MESSAGES:
                    field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".sparkplug_b.{kind}"
                else:
                    field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
                if one_of:
                    field.oneof_index = 0
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"sparkplug_b.{name}")) for name in _MESSAGES}


_CLASSES = _build()
Payload: Any = _CLASSES["Payload"]
PropertySet: Any = _CLASSES["PropertySet"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OTHER_FIELDS = 16  # time, seq, uuid and body, with room for a vendor's own


def has_more_metrics(payload: bytes, most: int) -> bool:
    """Whether a payload has more than `most` metrics, found without making any of them: two bytes can cost 100.

    What is no protobuf is for the parser to refuse: False. Groups, which no version of Sparkplug has, count as many.

    >>> has_more_metrics(bytes([0x12, 0]) * 30, 10), has_more_metrics(bytes([0x12, 0]) * 10, 10)
    (True, False)
    """
    at, end = 0, len(payload)
    try:
        for _ in range(most + _OTHER_FIELDS):
            if at >= end:
                return False
            tag, at = _varint(payload, at)
            wire = tag & 7
            if wire == _BYTES:
                size, at = _varint(payload, at)
                at += size
            elif wire == _VARINT:
                at = _varint(payload, at)[1]
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                return True  # a group: nobody writes one, and what is in it could be many
    except IndexError:
        return False
    return at < end


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """(value, index after it). Raises IndexError where the payload ends within, or it never does."""
    value = 0
    for shift in range(0, 70, 7):
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError
