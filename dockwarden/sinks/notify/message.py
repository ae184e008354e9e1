"""One message of many transitions: the worst comes first, and what to do about it is said once for each policy.

Input: transitions, the policies that they are of, templates. Output: subject, text, and which kind of message it is.
Out of bounds: sending it. Its size is bounded, but no critical finding is left out for others.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dockwarden.model import Policy, Severity
from dockwarden.text import counted

OPENED, EXPIRED, FAILED = "opened", "expired", "failed"
ACTED, RESOLVED, EXCUSED = "acted", "resolved", "excused"
Alarm = Literal["failure", "warning", "info", "success"]
"""How apprise calls kinds of messages, from the worst."""

_ORDER = (OPENED, EXPIRED, FAILED, ACTED, RESOLVED, EXCUSED)
_TITLE, _BODY = "dockwarden: {summary}", "{findings}\n\n{link}"
_ALARMS: dict[Severity, Alarm] = {Severity.CRITICAL: "failure", Severity.HIGH: "failure", Severity.MEDIUM: "warning"}
_MOST_LINES = 10
_MOST_CRITICAL = 1000
_MOST_POLICIES = 20
_MOST_TEXT = 300
# What chats take for tags, for which Telegram refuses a message, and for links, mentions and markup; look-alikes stay
# readable.
_TAGS = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    }
)
_LOOK_ALIKES = _TAGS | str.maketrans(
    {
        "[": "(",
        "]": ")",
        "`": "'",
        "*": "\N{ASTERISK OPERATOR}",
        "|": "\N{BROKEN BAR}",
    }
)
_MENTION = re.compile(r"(?<!\w)@")


class News(NamedTuple):
    what: str
    severity: Severity
    policy: str
    text: str
    about: Policy | None = None

    @property
    def is_opening(self) -> bool:
        """Whether somebody should look."""
        return self.what in (OPENED, EXPIRED)


@dataclass
class _Group:
    """News of the same kind by one policy: how many, and the first of them in words."""

    first: News
    count: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def must_be_told(self) -> bool:
        """Whether each of them is named, however many there are."""
        return self.first.is_opening and self.first.severity is Severity.CRITICAL

    def rank(self) -> tuple[bool, int, int, str]:
        """What sorts groups: openings by severity, then the rest."""
        news = self.first
        order = 0 if news.is_opening else _ORDER.index(news.what)
        return not news.is_opening, order, news.severity.rank, news.policy

    def heading(self) -> str:
        news = self.first
        title = news.about.title if news.about else ""
        return plain(f"{news.what}, {news.severity.value}, {news.policy}") + (f": {ours(title)}" if title else "")

    def advice(self) -> Iterator[str]:
        if (policy := self.first.about) is None or not self.first.is_opening:
            return
        for word, text in (
            ("Why", policy.description),
            ("What to do", policy.remediation),
            ("See", ", ".join(policy.refs)),
        ):
            if text:
                yield f"{word}: {ours(text)}"


@dataclass
class Message:
    groups: dict[tuple[str, Severity, str], _Group] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups.values())

    def add(self, news: News) -> None:
        group = self.groups.setdefault((news.what, news.severity, news.policy), _Group(news))
        group.count += 1
        if len(group.lines) < (_MOST_CRITICAL if group.must_be_told else _MOST_LINES):
            group.lines.append(plain(news.text))

    def alarm(self) -> Alarm:
        """The kind of message, by the worst in it."""
        if worst := self._worst():
            return _ALARMS.get(worst, "info")
        return "warning" if any(group.first.what == FAILED for group in self.groups.values()) else "success"

    def write(self, host: str, link: str, title: str, body: str) -> tuple[str, str]:
        """Subject and text, by templates or, where they are empty, as usual."""
        worst = self._worst()
        values = {
            "host": plain(host),
            "summary": plain(self._summary(host)),
            "worst": worst.value if worst else "",
            "findings": "\n".join(self._lines()),
            "link": link,
        }
        return " ".join((title or _TITLE).format(**values).split()), (body or _BODY).format(**values).strip()

    def _worst(self) -> Severity | None:
        opened = [group.first.severity for group in self.groups.values() if group.first.is_opening]
        return min(opened, key=lambda severity: severity.rank, default=None)

    def _summary(self, host: str) -> str:
        """``2 critical, 3 high on web-7; 1 resolved``."""
        counts: Counter[tuple[bool, int, str]] = Counter()
        for group in self.groups.values():
            news = group.first
            key = (False, news.severity.rank, news.severity.value)
            counts[key if news.is_opening else (True, _ORDER.index(news.what), news.what)] += group.count
        opened, others = (
            ", ".join(f"{counts[key]:,} {key[2]}" for key in sorted(counts) if key[0] is is_other)
            for is_other in (False, True)
        )
        return f"{opened or others} on {host}" + (f"; {others}" if opened and others else "")

    def _lines(self) -> Iterator[str]:
        left, groups = _MOST_LINES, sorted(self.groups.values(), key=_Group.rank)
        for number, group in enumerate(groups):
            if number >= _MOST_POLICIES and not group.must_be_told:
                left_out = sum(each.count for each in groups[number:])
                yield f"and {left_out:,} more of {counted(len(groups) - number, 'policy')}"
                break
            named = group.lines if group.must_be_told else group.lines[: max(0, left)]
            left -= len(named)
            if not named:
                yield f"{group.heading()}: {group.count:,}"
                continue
            yield group.heading()
            yield from (f"- {line}" for line in named)
            if more := group.count - len(named):
                yield f"- and {more:,} more"
            yield from group.advice()


def ours(text: str) -> str:
    """What the host's own people wrote of a policy, in one line."""
    return " ".join(text.split()).translate(_TAGS)


def plain(text: str) -> str:
    """One line that no chat or mail program takes for a link, a mention or markup, whoever wrote it."""
    line = "".join(c if c.isprintable() else " " for c in text[:_MOST_TEXT]).translate(_LOOK_ALIKES)
    line = _MENTION.sub("\N{FULLWIDTH COMMERCIAL AT}", line.replace("://", ": //"))
    return line + "…" if len(text) > _MOST_TEXT else line
