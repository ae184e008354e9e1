"""The syntax tree of a compiled expression, read from its serialized form. Pure, and without the library.

Input: bytes of a ``cel.expr.CheckedExpr`` in the wire format of protocol buffers. Output: ``Node`` values, and their
source again. Out of bounds: what any node means.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_LOW = 0x7F
_ID, _CONST, _TYPES, _EXPR, _SOURCE, _PLACES, _ENTRIES, _TESTS = 2, 3, 3, 4, 5, 4, 2, 3


class Node(NamedTuple):
    """One node.

    Attributes:
        op: ``const``, ``name``, ``select``, ``has``, ``call``, ``list``, ``map``, or ``fold``, as which exists() is
            compiled.
        value: the constant, name, key or function; of a fold its variables for an item and the result.
        args: operands; of a fold its range, the first result, and what is done with it.
        at: its place in the source, in characters; of a call that of its operator or dot.
        type: its type in the wire format.
    """

    op: str
    value: object
    args: tuple["Node", ...]
    at: int
    type: bytes

    def walk(self) -> Iterator["Node"]:
        nodes = [self]
        while nodes:
            node = nodes.pop()
            yield node
            nodes += node.args


def names(node: Node) -> set[str]:
    """All names in it: of facts, constants and variables."""
    return {str(each.value) for each in node.walk() if each.op == "name"}


ORDER = {"_<_": False, "_<=_": False, "_>_": True, "_>=_": True}
"""Comparisons by their order, and whether the greater one stands first."""
_FREE = ("bool", "as_size", "double", "duration", "dyn", "int", "size", "string", "timestamp", "uint", "version")


def say(node: Node) -> str:
    """A node as source, as far as a hint needs it."""
    match node.op:
        case "name":
            return str(node.value)
        case "const":
            return f"'{node.value}'" if isinstance(node.value, str) else str(node.value).lower()
        case "select":
            return f"{say(node.args[0])}.{node.value}"
        case "has":
            return f"has({say(node.args[0])}.{node.value})"
        case "call" if node.value in ("_[_]", "_[?_]"):
            return f"{say(node.args[0])}[{'?' if '?' in str(node.value) else ''}{say(node.args[1])}]"
        case "call" if node.value in ("_-_", "_+_", "_*_", "_/_", "_%_"):
            left, right = (f"({said})" if " " in (said := say(arg)) else said for arg in node.args)
            return f"{left} {str(node.value).strip('_')} {right}"
        case "call" if node.value in _FREE:
            return f"{node.value}({', '.join(map(say, node.args))})"
        case "call" if node.args and str(node.value).isidentifier():
            return f"{say(node.args[0])}.{node.value}({', '.join(map(say, node.args[1:]))})"
    return "…"


def read(checked: bytes) -> Node:
    whole = _fields(_fields(checked)[2][-1])
    types = dict(map(_entry, whole[_TYPES]))
    places = dict(map(_entry, _fields(whole[_SOURCE][-1]).get(_PLACES, ())))

    def node(raw: bytes) -> Node:
        fields = _fields(raw)
        number, kind = fields.get(_ID, [0])[-1], max(fields)  # those of kinds are higher
        op, value, parts = _NODES.get(kind, _NODES[_CONST])
        inner = _fields(fields[kind][-1]) if kind in _NODES else {}
        if op == "select" and inner.get(_TESTS):
            op = "has"
        if op == "map":
            entries = map(_fields, inner.get(_ENTRIES, ()))
            inner = {_ENTRIES: [part for entry in entries for number in (3, 4) for part in entry.get(number, ())]}
        args = tuple([node(part) for number in parts for part in inner.get(number, ())])
        return Node(op, value(inner), args, places.get(number, 0), types.get(number, b""))

    return node(whole[_EXPR][-1])


_Fields = dict[int, list[Any]]
"""The fields of one message by their numbers."""


def _fields(raw: bytes) -> _Fields:
    found: _Fields = {}
    at, end = 0, len(raw)
    while at < end:
        key, at = _varint(raw, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(raw, at)
        else:
            length, at = (8, at) if key & 7 == 1 else _varint(raw, at)
            value, at = raw[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def _entry(raw: bytes) -> tuple[int, Any]:
    """An entry of a map, which has two fields: a number, and a number or a message."""
    key, at = _varint(raw, 1)
    value, end = _varint(raw, at + 1)
    return key, value if raw[at] & 7 == 0 else raw[end:]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := raw[at]) > _LOW:
        value |= (byte & _LOW) << shift
        shift, at = shift + 7, at + 1
    return value | byte << shift, at + 1


def _text(fields: _Fields, number: int) -> str:
    return bytes(fields.get(number, [b""])[-1]).decode()


def _constant(fields: _Fields) -> object:
    (key, values), *_ = fields.items() or ((1, [0]),)
    return _CONSTANTS.get(key, lambda _: None)(values[-1])


_CONSTANTS: dict[int, Callable[[Any], object]] = {
    2: bool,
    3: lambda value: value - 2**64 if value >= 2**63 else value,
    4: int,
    5: lambda value: struct.unpack("<d", value)[0],
    6: bytes.decode,
}
# The kinds of node by the number of their field: name, what it says, and which of its fields are operands.
_NODES: dict[int, tuple[str, Callable[[_Fields], object], tuple[int, ...]]] = {
    _CONST: ("const", _constant, ()),
    4: ("name", lambda fields: _text(fields, 1), ()),
    5: ("select", lambda fields: _text(fields, 2), (1,)),
    6: ("call", lambda fields: _text(fields, 2), (1, 3)),
    7: ("list", lambda _: None, (1,)),
    8: ("map", lambda _: None, (_ENTRIES,)),
    9: ("fold", lambda fields: (_text(fields, 1), _text(fields, 3)), (2, 4, 6, 7)),
}
