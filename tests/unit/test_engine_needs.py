"""What specs of services say, and which images and volumes of a node that is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.engine.swarm import needs, services
from dockwarden.model import Thing, may_be_needed, needed_by
from tests.builders import a_container, a_volume, an_image, digest_of, image_id
from tests.tables import each

APP = an_image("app", "app:1", "docker.io/me/app:1", digests=(digest_of("me/app", "app"),))


def listed(image: str = "", mounts: Any = None, before: str = "") -> list[dict[str, Any]]:
    def spec(image: str, mounts: Any) -> dict[str, Any]:
        return {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": image, "Mounts": mounts}}}

    previous = {"PreviousSpec": spec(before, None)} if before else {}
    return [{"ID": "1", "Spec": spec(image, mounts), **previous}, {"ID": "2", "Spec": {"Name": "plugin"}}]


@each(
    ("named", "is_needed"),
    [
        ("app:1", True),
        ("docker.io/library/app:1", True),
        ("app", False),
        ("app:2", False),
        ("me/app:1", True),
        (f"me/app@{image_id('app')}", True),
        (f"me/app:9@{image_id('app')}", True),
        (f"app@{image_id('app')}", False),
        (f"app:1@{image_id('other')}", True),
        (image_id("app"), True),
        (image_id("app").removeprefix("sha256:"), True),
        (image_id("other"), False),
        ("Not A Reference", False),
    ],
)
def test_a_spec_names_an_image_in_every_form(named: str, is_needed: bool) -> None:  # noqa: FBT001
    mounted = [{"Type": "image", "Source": named, "Target": "/x"}]
    for raw in (listed(named), listed("x", before=named), listed("x", mounted)):
        assert needed_by(needs(raw), APP) == (("service web",) if is_needed else ())


def test_a_tag_is_needed_by_its_name_or_for_the_digest_that_goes_with_it() -> None:
    by_tag, by_digest = needs(listed("app:1")), needs(listed(f"me/app@{image_id('app')}"))
    here, there = "docker.io/library/app:1", "docker.io/me/app:1"
    assert [bool(needed_by(by_tag, APP, tag)) for tag in (here, there)] == [True, False]
    assert [bool(needed_by(by_digest, APP, tag)) for tag in (here, there)] == [False, True]


@given(
    st.sampled_from(["{{.Task.Slot}}", "{{ .Node.Hostname }}", "{{.Task.ID}}"]),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9_.-]{1,20}", fullmatch=True),
)
def test_a_template_stands_for_every_name_that_it_may_make(template: str, before: str, made: str) -> None:
    source = [{"Type": "volume", "Source": f"{before}-{template}", "Target": "/x"}]
    found = needs(listed("x", source))
    assert needed_by(found, a_volume(f"{before}-{made}")) == ("service web",)
    assert needed_by(found, a_volume(f"x{before}-{made}")) == ()


@pytest.mark.parametrize(
    "mounts", [None, [], [{"Type": "volume", "Target": "/x"}], [{"Type": "tmpfs", "Target": "/x"}]]
)
def test_a_mount_without_a_name_needs_no_volume(mounts: Any) -> None:
    assert needed_by(needs(listed("x", mounts)), a_volume("data")) == ()


def test_where_nobody_knows_only_what_no_spec_can_name_is_free() -> None:
    by_digest = an_image("a", digests=(digest_of("me/a", "a"),))
    named: tuple[Thing, ...] = (APP, by_digest, a_volume("data"))
    assert all(may_be_needed(None, each) for each in named)
    free: tuple[Thing | None, ...] = (
        an_image("a"),
        a_volume("0" * 64, anonymous=True),
        a_container("web", "app:1", "app"),
        None,
    )
    assert not any(may_be_needed(None, each) for each in free)
    assert not may_be_needed((), APP)


def test_what_its_containers_are_told_by_our_labels_holds_for_a_service() -> None:
    raw = listed("app:1")[:1]
    raw[0]["Spec"]["Labels"] = {"team": "shop", "dockwarden.skip": "all"}
    own = {"dockwarden.protect": "", "dockwarden.skip": "x", "team": "another"}
    raw[0]["Spec"]["TaskTemplate"]["ContainerSpec"]["Labels"] = own
    [service] = services(raw)
    assert service.labels == {"team": "shop", "dockwarden.skip": "all", "dockwarden.protect": ""}
