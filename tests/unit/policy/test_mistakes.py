"""Mistakes that people make, each refused with a way out; and what looks like one and is none."""

import sys
from pathlib import Path

import pytest
import yaml

from dockwarden.actions.table import VERBS
from dockwarden.errors import ConfigError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import FactSpec, Kind
from dockwarden.policy import rehearse
from dockwarden.policy.cel import Compiler
from dockwarden.policy.load import load
from dockwarden.policy.values import never
from tests.tables import each

MISTAKES = yaml.load((Path(__file__).parent / "mistakes.yaml").read_text(), yaml.CSafeLoader)


def written(when: str = "container.running", subject: str = "container", **keys: str) -> str:
    lines = {"subject": subject, "trigger": "{every: 1h}", "when": ">-\n      " + when.replace("\n", "\n      ")} | keys
    return "version: 1\npolicies:\n  - name: p\n" + "".join(f"    {key}: {text}\n" for key, text in lines.items())


def refused(folder: Path, text: str) -> list[str]:
    file = folder / "p.yaml"
    file.write_text(text)
    try:
        load([file], VOCABULARY, VERBS)
    except ConfigError as error:
        return [problem.removeprefix(f"{folder}/") for problem in error.problems]
    return []


@each(("subject", "when", "way"), MISTAKES["expressions"])
def test_expressions(tmp_path: Path, subject: str, when: str, way: str) -> None:
    problems = refused(tmp_path, written(when, subject))
    assert any(way in problem for problem in problems), problems
    assert all(problem.startswith("p.yaml:") for problem in problems)


@each(("line", "way"), MISTAKES["keys"])
def test_keys(tmp_path: Path, line: str, way: str) -> None:
    key, _, text = line.partition(": ")
    problems = refused(tmp_path, written(**{key: text}))
    assert any(way in problem for problem in problems), problems


@each(("text", "way"), MISTAKES["files"])
def test_files(tmp_path: Path, text: str, way: str) -> None:
    problems = refused(tmp_path, text)
    assert any(way in problem for problem in problems), problems


@each(("subject", "when"), MISTAKES["fine"])
def test_what_is_fine(tmp_path: Path, subject: str, when: str) -> None:
    assert refused(tmp_path, written(when, subject)) == []


@pytest.mark.parametrize(
    "when",
    [
        "'container.running // it''s fine'",
        r'"container.running // \"fine\", t\u00e4glich"',
        r'"container.running // why\n&& container.privileged"',
        ">-\n      container.running\n      // why,\n      // and why not\n",
        "container.running // why\n      // and why not",
    ],
)
def test_comments_of_which_nothing_else_becomes_a_part(tmp_path: Path, when: str) -> None:
    assert refused(tmp_path, written().replace(">-\n      container.running", when)) == []


@each(
    ("subject", "when"),
    [
        ("tag", "params.a == '' || tag.registry == params.a"),
        ("tag", "tag.name == params.a"),
        ("container", "params.a in container.log_opts"),
        ("container", "params.a in container.cap_add"),
        ("container", "container.cap_drop.exists(c, c == params.a)"),
    ],
)
def test_a_param_may_be_left_empty(tmp_path: Path, subject: str, when: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(written(when, subject, params="{a: ''}"))
    assert load([file], VOCABULARY, VERBS).warnings == ()


def test_a_list_may_be_left_empty(tmp_path: Path) -> None:
    for when in ("lists.a.exists(a, container.name.startsWith(a))", "container.state in lists.a"):
        text = written(f"container.running && container.health == 'unhealthy' && {when}")
        assert refused(tmp_path, text.replace("policies:", "lists: {a: []}\npolicies:", 1)) == []


def test_what_a_param_of_another_host_may_make_true_is_no_contradiction(tmp_path: Path) -> None:
    assert refused(tmp_path, written("container.state == params.a && container.running", params="{a: exited}")) == []
    assert refused(tmp_path, written("container.health == 'unhealthy'", select="'!container.running'"))


@each(
    ("subject", "when", "said"),
    [
        (
            "container",
            "container.memory_limit > 4000000000",
            "of those by container.memory_limit == 0",
        ),
        ("container", "container.pids_limit < 100", "container.pids_limit is 0 where there is no limit"),
        (
            "container",
            "container.cpu_limit < 2.0",
            "by container.cpu_limit == 0.0 || …",
        ),
        ("container", "container.cpu_limit == 0.0 || container.cpu_limit > 2.0", ""),
        ("container", "container.memory_limit > 0 && container.memory_limit < 67108864", ""),
        ("container", "container.memory_limit > 0 && container.memory_limit < container.memory_reservation", ""),
        ("service", "service.memory_reservation > 8589934592 && service.memory_limit == 0", ""),
        ("container", "container.memory_reservation > 512000000", "write 512MiB"),
        ("image", "image.size > 500", "image.size is in bytes"),
        ("image", "image.unique_size > 500", "image.unique_size is in bytes"),
        ("host", "host.build_cache_size > 20", "host.build_cache_size is in bytes"),
        ("host", "host.data_disk_free < 10", "host.data_disk_free is in bytes"),
        ("container", "container.memory_limit > 0 && container.memory_limit > 512000000", "write 512MiB"),
        ("container", "container.shm_size > 2000000000", "write 2GiB"),
        ("container", "'SYS_ADMIN' in container.cap_add", "c in ['ALL', 'SYS_ADMIN']"),
        ("container", "container.cap_add.exists(c, c in ['SYS_ADMIN', 'NET_ADMIN'])", "c in ['ALL', 'NET_ADMIN']"),
        ("container", "!('NET_RAW' in container.cap_drop)", "c in ['ALL', 'NET_RAW']"),
        ("container", "container.cap_add.exists(c, !(c in ['CHOWN', 'KILL']))", ""),
        ("container", "!container.cap_add.all(c, c in ['CHOWN', 'KILL'])", ""),
        ("container", "!container.cap_drop.all(c, c in ['CHOWN', 'KILL'])", "c in ['ALL', 'KILL']"),
        ("container", "container.cap_add[?1].hasValue()", ""),
        ("container", "container.cap_add.exists(c, c in ['ALL', 'SYS_ADMINN'])", "did you mean SYS_ADMIN?"),
        ("container", "container.cap_drop.exists(c, c != 'ALL' && c != 'CHWON')", "no capability 'CHWON' is known"),
        ("container", "container.cap_add.exists(c, c in ['ALL', 'BPF'] || c.startsWith('SYS_'))", ""),
        ("container", "now.getMonth() == 11", "January is 0; write getMonth() + 1 for what counts from 1"),
        ("container", "now.getMonth() + 1 == 12 || now.getMonth() == 0", ""),
        ("container", "now.getDayOfMonth() == 1", "getDayOfMonth() counts from 0"),
        ("container", "now.getDayOfWeek() > 5", "getDayOfWeek() is 0 on Sunday; say what you mean of those"),
        ("container", "now.getDayOfWeek('Europe/Berlin') <= 4", "getDayOfWeek() is 0 on Sunday"),
        ("container", "now.getDayOfWeek() >= 1 && now.getDayOfWeek() <= 5", ""),
        ("container", "now.getDayOfWeek() in [0, 6] || now.getDayOfWeek() > 5", ""),
        ("container", "'ALL' in container.cap_add || 'SYS_ADMIN' in container.cap_add", ""),
        ("container", "container.log_opts[?'max-size'].orValue('') > '50m'", "compared letter by letter, '10m' < '9m'"),
        ("volume", "volume.options[?'o'].orValue('') < 'size=1'", ""),
        ("host", "!host.swarm_autolock", "it finds hosts outside of a swarm"),
        ("host", "host.swarm_managers < 3", "it finds hosts outside of a swarm"),
        ("host", "host.swarm_certificates_last < duration('720h')", "before it write host.swarm_role == 'manager'"),
        ("host", "host.swarm_managers > 7", ""),
        ("host", "host.swarm && host.swarm_managers < 3", ""),
        ("host", "!host.swarm || !host.live_restore", ""),
        ("host", "!host.swarm || !host.swarm_autolock", ""),
        ("host", "host.swarm_role == '' || host.swarm_managers < 3", ""),
        ("host", "host.swarm_managers == 0", ""),
        ("host", "host.swarm_managers % 2 == 0", "it finds hosts outside of a swarm"),
        ("image", "image.tags.all(t, t.endsWith(':latest'))", "it finds images without a tag"),
        ("image", "!image.in_use && image.tags.all(t, t.contains('/dev/'))", "it finds images without a tag"),
        ("image", "image.repositories.all(r, !r.startsWith('docker.io/'))", "it finds images without a tag"),
        ("image", "image.tags.map(t, t.lowerAscii()).all(t, t.endsWith(':ci'))", "it finds images without a tag"),
        ("image", "image.size > 5000000000 || (image.tags != [] && image.tags.all(t, t.endsWith(':ci')))", ""),
        ("host", "host.disk_used_percent > 85.0 || host.swarm_managers > 7", ""),
        ("image", "image.same_as.all(t, t.endsWith(':latest'))", ""),
        ("image", "!image.tags.exists(t, t.endsWith(':keep')) && image.volumes.all(v, v != '/data')", ""),
        ("image", "image.created <= timestamp(1) || image.created == timestamp(86400)", ""),
        ("tag", "tag.registry == 'registry.hub.docker.com'", "those of Docker Hub are of docker.io"),
        ("tag", "tag.registry != 'registry-1.docker.io'", "those of Docker Hub are of docker.io"),
        ("tag", "tag.registry in ['docker.io', 'registry.hub.docker.com']", ""),
        ("host", "host.containers > 0 && !host.swarm_autolock", "it finds hosts outside of a swarm"),
        ("image", "size(image.tags) > 0 && image.tags.all(t, t.endsWith(':latest'))", ""),
        ("image", "!image.dangling && image.tags.all(t, t.endsWith(':latest'))", ""),
        ("image", "image.dangling || image.tags.all(t, t.endsWith(':latest'))", ""),
        ("image", "size(image.tags) == 0 || image.tags.all(t, t.endsWith(':latest'))", ""),
        ("image", "image.tags.size() < 2 && image.tags.all(t, t.endsWith(':latest'))", "images without a tag"),
        ("image", "!image.tags.all(t, t.startsWith('docker.io/'))", ""),
        ("image", "size(image.tags) == 0", ""),
    ],
)
def test_what_may_be_meant_otherwise_is_a_warning(tmp_path: Path, subject: str, when: str, said: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(written(when, subject))
    warnings = load([file], VOCABULARY, VERBS).warnings
    assert bool(warnings) == bool(said)
    assert said in "".join(warnings)


@pytest.mark.parametrize("key", ["order_by", "stop_when", "limits"])
def test_what_has_no_effect_without_an_action_is_a_warning(tmp_path: Path, key: str) -> None:
    text = {"order_by": "container.created", "stop_when": "host.images > 1", "limits": "{max_objects: 5}"}[key]
    for action, count in ((None, 1), ("stop", 0)):
        file = tmp_path / "p.yaml"
        file.write_text(written(**{key: text} | ({"action": action} if action else {})))
        warnings = load([file], VOCABULARY, VERBS).warnings
        assert [f"p: without an action {key} has no effect" in warning for warning in warnings] == [True] * count


SOME = "{a: [keep=true, postgres, abc123]}"


@each(
    ("subject", "when", "params", "is_fine"),
    [
        (
            "image",
            "params.a.exists(e, image.tags.exists(t, t.contains(e)) || image.short_id.startsWith(e))",
            SOME,
            True,
        ),
        ("image", "params.a.exists(e, image.short_id.startsWith(e))", SOME, False),
        ("image", "params.a.exists(e, image.short_id.startsWith(e) || image.short_id == e)", SOME, False),
        (
            "container",
            "container.labels.exists(k, k in params.a || k + '=' + container.labels[k] in params.a)",
            SOME,
            True,
        ),
        ("container", "container.labels.exists(k, k in params.a)", SOME, False),
        ("container", "container.state == params.w && params.w != ''", "{w: stopped}", False),
        ("container", "params.w != 'all' ? container.state == params.w : container.running", "{w: stopped}", False),
        ("container", "params.w != 'all' ? container.state == params.w : container.running", "{w: all}", True),
        ("container", "params.w == '' || container.state == params.w", "{w: ''}", True),
    ],
)
def test_what_a_param_holds_has_to_fit_one_of_the_objects_facts_that_it_is_compared_with(
    tmp_path: Path, subject: str, when: str, params: str, *, is_fine: bool
) -> None:
    assert (refused(tmp_path, written(when, subject, params=params)) == []) is is_fine


def said_of(spec: FactSpec, value: object) -> list[str]:
    """Why a value that a fact may have, or a part of it, can never be."""
    if isinstance(value, list):
        return [why for item in value for why in said_of(spec, item)]
    if isinstance(value, dict):
        return [why for key, item in value.items() if key in spec.keys for why in said_of(spec.keys[key], item)]
    return [never(spec, value)] if isinstance(value, str) and value else []


@each(("subject", "fact"), [(kind, name) for kind, facts in VOCABULARY.items() for name in facts])
def test_no_policy_is_rehearsed_on_what_is_never_so(subject: Kind, fact: str) -> None:
    spec = VOCABULARY[subject][fact]
    found = rehearse.samples(spec, ["core=", "/dev/dri", ":rw", "80", "2024-", "CAP_X", "*", "web", 7])
    is_exposed_only = "container.ports is never '80/tcp'"
    assert [why for value in found for why in said_of(spec, value) if why and not why.startswith(is_exposed_only)] == []


@each(
    "when",
    [
        "image.repositories.exists(r, r in lists.known)",
        "image.digests.exists(d, d.split('@')[1] != '') && image.ref in lists.known",
    ],
)
def test_of_a_long_list_few_items_are_rehearsed(when: str) -> None:
    def calls(items: int) -> int:
        lists = {"known": [f"docker.io/acme/app{number}" for number in range(items)]}
        part = rehearse.Part("when", Compiler(VOCABULARY, lists).compile(Kind.IMAGE, {}, when))
        made: list[str] = []
        sys.setprofile(lambda _, event, __: made.append(event))
        try:
            assert rehearse.rehearse([part], [], VOCABULARY[Kind.IMAGE]) is None
        finally:
            sys.setprofile(None)
        return len(made)

    assert calls(1000) < calls(30) + 5 * 1000  # each is read, and few are tried
