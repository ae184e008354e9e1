"""The syntax tree of a compiled expression, read from its serialized form. Pure, and without the library.

Input: bytes of a ``cel.expr.CheckedExpr`` in the wire format of protocol buffers. Output: ``Node`` values, and their
source again. Out of bounds: what any node means.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_LOW = 0x7F
_ID, _TYPES, _EXPR, _SOURCE, _PLACES = 2, 3, 4, 5, 4


class Node(NamedTuple):
    """One node.

    Attributes:
        op: ``const``, ``name``, ``select``, ``call``, ``list``, ``map``, or ``fold``, as which exists() is compiled.
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
        yield self
        for arg in self.args:
            yield from arg.walk()


def names(node: Node) -> set[str]:
    """All names in it: of facts, constants and variables."""
    return {str(each.value) for each in node.walk() if each.op == "name"}


def chain(node: Node, joint: str) -> Iterator[Node]:
    """The parts of ``a && b && c``."""
    for arg in node.args:
        if arg.op == "call" and arg.value == joint:
            yield from chain(arg, joint)
        else:
            yield arg


def say(node: Node) -> str:
    """A node as source, as far as a hint needs it."""
    match node.op:
        case "name":
            return str(node.value)
        case "const":
            return f"'{node.value}'" if isinstance(node.value, str) else str(node.value).lower()
        case "select":
            return f"{say(node.args[0])}.{node.value}"
        case "call" if node.value in ("_[_]", "_[?_]"):
            return f"{say(node.args[0])}[{'?' if '?' in str(node.value) else ''}{say(node.args[1])}]"
        case "call" if node.args and str(node.value).isidentifier():
            return f"{say(node.args[0])}.{node.value}({', '.join(map(say, node.args[1:]))})"
    return "…"


def read(checked: bytes) -> Node:
    whole = _Fields(_Fields(checked).one(2))
    types = {entry.number(1): entry.one(2) for entry in whole.each(_TYPES)}
    places = {entry.number(1): entry.number(2) for entry in _Fields(whole.one(_SOURCE)).each(_PLACES)}

    def node(raw: bytes) -> Node:
        fields = _Fields(raw)
        number = fields.number(_ID)
        at, type_ = places.get(number, 0), types.get(number, b"")

        def made(op: str, value: object, *args: bytes) -> Node:
            return Node(op, value, tuple(node(arg) for arg in args), at, type_)

        for key, (op, value, parts) in _NODES.items():
            if key in fields.values:
                inner = _Fields(fields.one(key))
                return made(op, value(inner), *(part for number in parts for part in inner.values.get(number, ())))
        return made("const", None)

    return node(whole.one(_EXPR))


class _Fields:
    """The fields of one message by their numbers."""

    def __init__(self, raw: bytes) -> None:
        self.values: dict[int, list[Any]] = {}
        at = 0
        while at < len(raw):
            key, at = _varint(raw, at)
            value: int | bytes
            if key & 7 == 0:
                value, at = _varint(raw, at)
            else:
                length, at = (8, at) if key & 7 == 1 else _varint(raw, at)
                value, at = raw[at : at + length], at + length
            self.values.setdefault(key >> 3, []).append(value)

    def one(self, number: int) -> bytes:
        return bytes(self.values.get(number, [b""])[-1])

    def number(self, number: int) -> int:
        return int(self.values.get(number, [0])[-1])

    def text(self, number: int) -> str:
        return self.one(number).decode()

    def each(self, number: int) -> Iterator["_Fields"]:
        return (_Fields(raw) for raw in self.values.get(number, ()))


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & _LOW) << shift
        shift, at = shift + 7, at + 1
        if byte <= _LOW:
            return value, at


def _constant(fields: _Fields) -> object:
    (key, values), *_ = fields.values.items() or ((1, [0]),)
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
    3: ("const", _constant, ()),
    4: ("name", lambda fields: fields.text(1), ()),
    5: ("select", lambda fields: fields.text(2), (1,)),
    6: ("call", lambda fields: fields.text(2), (1, 3)),
    7: ("list", lambda _: None, (1,)),
    8: ("map", lambda _: None, ()),
    9: ("fold", lambda fields: (fields.text(1), fields.text(3)), (2, 4, 6, 7)),
}
