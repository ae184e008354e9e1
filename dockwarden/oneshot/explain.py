"""All about one object or one policy, from one look at the engine. What ``explain`` does.

Input: settings, policies, what a person named. Output: an explanation, or what it may mean. Out of bounds: printing.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

from dockwarden.app import Parts, open_to_read, past_of
from dockwarden.config.settings import Settings
from dockwarden.errors import DockwardenError, UsageError
from dockwarden.inventory.gather import REGISTRY, USAGE, Learnt
from dockwarden.model import FactValue, Kind, PolicySet, Ref
from dockwarden.oneshot.look import finish, look
from dockwarden.pipeline.explain import Explainer, Explanation, PolicyExplanation, refs_named
from dockwarden.pipeline.judge import Sweep, Work
from dockwarden.text import near

_POLICY = "policy/"


def explain(
    settings: Settings, policies: PolicySet, name: str, *, offline: bool = False
) -> Explanation | PolicyExplanation:
    """Of ``[KIND/]NAME`` or ``policy/NAME``. EngineUnavailableError; UsageError: many, no policy; DockwardenError."""
    known = [policy.name for policy in policies.policies]
    wanted = name.removeprefix(_POLICY)
    if name.startswith(_POLICY) and wanted not in known:
        raise UsageError(f"{name}: no such policy{near(wanted, known) or '; there are ' + ', '.join(known)}")
    parts, _ = look(settings, policies)
    with closing(parts):
        refs = [] if name.startswith(_POLICY) else refs_named(name, parts.inventory)
        if not refs and wanted in known:
            return _policy(parts, policies, wanted, offline=offline)
        meant = [f"{ref.kind}/{parts.inventory.name_of(ref)}" for ref in refs]
        if not refs:
            raise DockwardenError(f"{name}: there is nothing of that name here{_hint(parts, name)}")
        if len(refs) > 1:
            raise UsageError(f"{name} may mean {', '.join(dict.fromkeys(meant))}; say which")
        return _object(parts, settings, policies, refs[0], offline=offline)


def _hint(parts: Parts, name: str) -> str:
    names = {parts.inventory.name_of(ref) for kind in Kind for ref in parts.inventory.all(kind)}
    kind, _, rest = name.partition("/")
    return ("" if kind in list(Kind) else near(name, names)) or near(rest, names)


def _policy(parts: Parts, policies: PolicySet, name: str, *, offline: bool) -> PolicyExplanation:
    now, sweep = parts.now(), Sweep()
    work = parts.judge.everything(parts.judge.allowed([p for p in policies.policies if p.name == name], now))
    finish(parts, parts.judge.sweep(work, sweep, depth=USAGE if offline else REGISTRY, now=now, keep_all=True))
    explainer = Explainer(parts.inventory, parts.findings, parts.enforcer, now)
    return explainer.policy(name, policies, sweep.results)


def _object(parts: Parts, settings: Settings, policies: PolicySet, ref: Ref, *, offline: bool) -> Explanation:
    now, sweep, depth = parts.now(), Sweep(), USAGE if offline else REGISTRY
    opened = parts.judge.allowed(policies.policies, now)
    near_by = parts.inventory.near(ref)
    # What an action would do to one object depends on what else it would be done to: a run has limits.
    acting = parts.judge.everything([p for p in opened if p.action and p.subject is ref.kind])
    work: list[Work] = [(each, due) for each, due in acting if each not in near_by]
    work += [(each, [p for p in opened if p.subject is each.kind]) for each in sorted(near_by)]
    finish(parts, parts.judge.sweep(work, sweep, depth=depth, now=now, keep_all=True))
    learnt: Learnt = {}

    def facts(about: Ref, names: Sequence[str]) -> Mapping[str, FactValue]:
        finish(parts, parts.gatherer.learn([(about, names)], learnt, depth, now))
        return {name: learnt[about][0].known[name] for name in names if name in learnt[about][0].known}

    open_to_read(settings, parts.ledger)  # as for a plan
    past = past_of(settings, {ref.key, parts.inventory.name_of(ref)})
    explainer = Explainer(parts.inventory, parts.findings, parts.enforcer, now)
    return explainer.object(ref, policies.policies, sweep.results, facts, past)
