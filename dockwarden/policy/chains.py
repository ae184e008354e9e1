"""Chains of ``&&`` or ``||`` of which one part decides alone, whatever the others say. Pure.

Input: the node of a chain. Output: the parts, each with what is wrong. Out of bounds: what any fact can be.
"""

from collections.abc import Iterator

from dockwarden.policy.tree import ORDER, Node, say


def decided(node: Node) -> Iterator[tuple[Node, str]]:
    """Parts that always or never hold, or do so together with another one."""
    same, word = ("_!=_", "always") if node.value == "_||_" else ("_==_", "never")
    seen: dict[tuple[str, str], Node] = {}  # by what is compared, and whether it is equal, above or below
    parts = list(_parts(node, str(node.value)))
    plain = {say(part) for part in parts if "…" not in say(part)}
    for part in parts:
        if part.op == "const":
            yield part, f"with {say(part)} the other side decides nothing, or all; leave it out"
        if part.op != "call":
            continue
        name, how, to = say(part.args[0]), str(part.value), part.args[-1]
        if how == "!_" and name in plain:
            yield part, f"{name} and its opposite {word} hold together"
        if to.op != "const" or "…" in name:
            continue
        if how == same and (other := seen.setdefault((name, "="), to)).value != to.value:
            listed = f"{name} in [{say(other)}, {say(to)}]"
            meant = f"always differs from one of them; write !({listed})"
            yield part, f"{name} {meant if word == 'always' else f'is never both; write {listed}'}"
        elif how in ORDER and type(to.value) in (int, float):
            other, seen[name, how[1]] = seen.get((name, "<" if how[1] == ">" else ">"), to), to
            least, most = (float(str(each.value)) for each in ((to, other) if how[1] == ">" else (other, to)))
            if least > most if word == "never" else least < most:  # no number passes both, or each passes one
                yield part, f"together with the comparison with {say(other)} it {word} holds"


def _parts(node: Node, joint: str) -> Iterator[Node]:
    """The parts of ``a && b && c``."""
    for arg in node.args:
        if arg.op == "call" and arg.value == joint:
            yield from _parts(arg, joint)
        else:
            yield arg
