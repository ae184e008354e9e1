"""Which version is the newest: in Docker's official catalogue, in repositories that count oddly, and in any."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.inventory.newest import Look, UnclearError, aliases, newest
from dockwarden.versions import version
from tests.bench.versions import NEWER, WORDS, Repository, catalogue, verdicts
from tests.tables import each

_AT_ONCE_SECONDS = 5.0  # of CPU: on a slow machine it takes 0.3, and took 35

# -- the official catalogue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [False, True])
def test_who_speaks_of_a_newer_version_is_right(gone: bool) -> None:  # noqa: FBT001 - a parameter of the test
    found = dict(verdicts(gone=gone))
    assert len(found) == 81
    assert {name for name, verdict in found.items() if verdict == "flagged, right"} == set(NEWER)
    assert {name for name, verdict in found.items() if verdict == "unknown, rightly"} == set(WORDS)
    assert {
        verdict for verdict in found.values() if verdict not in ("silent", "flagged, right", "unknown, rightly")
    } <= ({"flagged, unclear"} if gone else set())


@each("name", sorted(catalogue(gone=False)))
def test_of_no_tag_of_the_catalogue_a_lower_version_or_a_pre_release_is_called_newest(name: str) -> None:
    repository = catalogue(gone=False)[name]
    tags = sorted(repository.images)
    for tag in tags[:: len(tags) // 60 + 1]:
        found = repository.newest(tag)
        if found and not repository.is_same(found, tag):
            best = version(found)
            assert best is not None
            mine = [v for v in map(version, repository.images[tag].split()) if v and v.scheme.is_plain]
            assert all(v.numbers < best.numbers for v in mine if v.scheme.kind == best.scheme.kind), (tag, found)
            assert not any(v.is_early for v in map(version, repository.images[found].split()) if v), (tag, found)


# -- other people's repositories -------------------------------------------------------------------------------

# Images by their tags, and then of some tags the newest: `=` for itself or an alias, `?` for unclear, `-` for none.
WORLDS = """
# linuxserver/sonarr
  latest 4.0.20.3001-ls323 version-4.0.20.3001 4.0.20 | amd64-latest amd64-4.0.20.3001-ls323
  amd64-version-4.0.20.3001 | 4.0.19.2979-ls322 version-4.0.19.2979 4.0.19 | 4.0.9.2244-ls250 version-4.0.9.2244 |
  4.0.20.2990-ls321 | 3.0.10.1567-ls220 version-3.0.10.1567 | develop develop-4.0.20.3110-ls500
  develop-version-4.0.20.3110 | nightly-4.0.21.1-ls9 | 2.0.0.5344-ls102 | 124
> latest:= 4.0.19.2979-ls322:4.0.20.3001-ls323 version-4.0.9.2244:version-4.0.20.3001 4.0.19:4.0.20 develop:?
> 124:124 amd64-latest:=
# linuxserver/lidarr, where the first 0 of some names was lost
  latest 2.8.2.4493-ls30 version-2.8.2.4493 2.8.2 | 2.7.1.4417-ls20 version-2.7.1.4417 2.7.1 |
  0.8.1.2135-ls65 version-0.8.1.2135 8.1.2135 amd64-8.1.2135
> latest:= 2.8.2:= 2.7.1:2.8.2 2.7.1.4417-ls20:2.8.2.4493-ls30 0.8.1.2135-ls65:2.8.2.4493-ls30
# of a library that counted four numbers, then three
  latest 1.0.1 | 1.0.0 | 0.2.0.0 | 0.1.0.1 | 0.1.0.0
> latest:= 1.0.0:1.0.1 1.0.1:=
# collabora
  latest 25.04.1.1.1 | 24.04.11.2.1 | 21.11.5.3.1 | 6.4.14.3 | 4.2.6.2
> latest:= 4.2.6.2:25.04.1.1.1 6.4.14.3:25.04.1.1.1 24.04.11.2.1:25.04.1.1.1
# yugabyte, whose builds are numbered as others' betas are
  latest 2.25.1.0-b381 | 2024.2.2.1-b6 2024.2.2.1-b6-aarch64 | 2.20.9.0-b68 | 2024.2.2.0-b105 | 2.25.0.0-b489
> latest:= 2024.2.2.0-b105:2024.2.2.1-b6 2.20.9.0-b68:2.25.1.0-b381
# betas of what has releases
  latest 1.0.0 | 1.1.0-b1 | 1.1.0-b2
> latest:= 1.1.0-b1:?
# betas and what comes after them, without any release
  latest 1.0.0-rc1 | 1.0.0-b2 | 1.0.0-b1
> latest:- 1.0.0-rc1:? 1.0.0-b1:? 1.0.0-b2:?
# times of builds
  1.0.4-20200608160520Z | 1.0.4-20200609160520Z | 1.0.5-20200709T160520Z | 1.0.3-20200801160520Z
> 1.0.4-20200608160520Z:1.0.5-20200709T160520Z 1.0.5-20200709T160520Z:=
# bitnami/redis
  latest 7.2.5-debian-12-r4 7.2.5 7.2 7.2-debian-12 | 7.2.5-debian-12-r3 | 7.2.4-debian-12-r9 7.2.4 |
  7.2.4-debian-12-r16 | 6.2.14-debian-12-r22 6.2.14 6.2 6.2-debian-12 | 7.0.1-debian-11-r0 | sha256-0123456789.sig
> latest:= 7.2.4-debian-12-r9:7.2.5-debian-12-r4 6.2:7.2.5 7.2.5-debian-12-r3:7.2.5-debian-12-r4
> 6.2-debian-12:7.2-debian-12
# keycloak
  latest 26.0.7-0 26.0.7 26.0 | 26.0.6-0 26.0.6 | 25.0.1-1 | 25.0.1-0 25.0.1 | nightly | 999.0.0-SNAPSHOT
> latest:= 25.0.1-1:26.0.7-0 25.0.1:26.0.7
# gitlab/gitlab-ce
  latest 17.5.2-ce.0 | 17.5.1-ce.0 | 17.6.0-rc42.ce.0 rc | 16.11.10-ce.0 | nightly
> latest:17.5.2-ce.0 16.11.10-ce.0:17.5.2-ce.0
# jenkins
  latest 2.463 2.463-jdk17 latest-jdk17 jdk17 | lts 2.452.2-lts 2.452.2 lts-jdk17 2.452.2-lts-jdk17 | 2.452.1-lts
  2.452.1 2.452.1-lts-jdk17 | 2.462 2.462-jdk17 | 2.452 2.452-jdk17 | 2.440.3-lts 2.440.3 | 2.440
> latest:= lts:= 2.452.1-lts:2.452.2-lts 2.452.1:2.452.2 2.462:2.463 lts-jdk17:=
# home-assistant
  latest stable 2026.9.1 2026.9 | 2026.8.3 2026.8 | beta rc 2026.10.0b2 | dev 2026.10.0.dev20260920 | 0.118.5 |
  0.117.6 | 2020.12.1
> latest:2026.9.1 2026.8.3:2026.9.1 stable:=
# amazonlinux
  latest 2023 2023.12.20260817.0 | 2 2.0.20260817.0 | 2018.03 2018.03.0.20230000.0 1 | 2017.12.0.20180330 |
  2.0.20250101.0 | 2023.11.20260701.1 | devel
> latest:= 2023.11.20260701.1:2023.12.20260817.0 2.0.20250101.0:2.0.20260817.0
# oraclelinux
  10 | 10-slim | 9 | 9-slim | 8 8.10 | 8-slim 8.10-slim | 7 7.9 | 8.9
> 9:10 8.9:8.10 9-slim:10-slim 8:10 10:10 8.10:10
# grafana
  latest 11.2.2 | latest-ubuntu 11.2.2-ubuntu | 11.2.1 | 11.2.1-ubuntu | 10.4.10 | main | 11.3.0-pre | 9.5.21
> latest:11.2.2 11.2.1-ubuntu:11.2.2-ubuntu latest-ubuntu:11.2.2-ubuntu
# minio
  latest RELEASE.2024-11-07T00-52-20Z | RELEASE.2024-10-29T16-01-48Z | RELEASE.2024-10-29T16-01-48Z.fips |
  RELEASE.2024-11-07T00-52-20Z.fips | edge | RELEASE.2024-11-07T00-52-20Z-cpuv1
> latest:RELEASE.2024-11-07T00-52-20Z RELEASE.2024-10-29T16-01-48Z:RELEASE.2024-11-07T00-52-20Z
# plex
  latest public 1.41.1.9057-af5eaea7a | 1.40.0.7998-c29d4c0c8 | 1.41.0.8994-f2c27da23 | beta plexpass
> latest:= 1.40.0.7998-c29d4c0c8:1.41.1.9057-af5eaea7a
# prometheus
  latest v2.55.1 | v2.55.0 | v3.0.0-rc.1 | v2.53.3 | main | v2.55.1-distroless
> latest:v2.55.1 v2.53.3:v2.55.1
# pihole
  latest 2024.07.0 | 2024.06.0 | v5.8.1 | 4.3.2 | nightly dev | 2023.05.2 | development-v6
> latest:2024.07.0 2023.05.2:2024.07.0
# jellyfin
  latest 10.9.11 10.9 10 10.9.11.20240908-012345 | 10.9.10 | 2024110405 | 20241104.3-unstable unstable |
  10.10.0-rc1 | 10.8.13 10.8
> latest:= 10.8:10.9.11 2024110405:?
# unifi
  latest v8.1.113 v8 v8.1 | v7.5.187 | v8.0.28 | stable-6 6.5.55 | 5.14.23-ls80
> latest:= v7.5.187:v8.1.113
# alpine
  latest 3.22.1 3.22 3 | edge 20250108 | 3.21.4 3.21 | 20240923 | 20240606
> latest:= 3.21:3.22.1 edge:? 20240606:?
# busybox
  latest 1.37.0 1.37 1 unstable | stable 1.36.1 1.36 | glibc 1.37.0-glibc unstable-glibc | 1.35.0
> latest:= 1.35.0:1.36.1 stable:=
# arm
  latest 1.2.3 | 1.2.3-arm-v6 latest-arm-v6 | 1.2.3-arm-v7 | 1.2.3-arm64-v8 | 1.2.2-arm-v6 | 1.2.2-linux_arm_v6 |
  1.2.3-linux_arm_v6 | 1.2.3-linux_arm_v7 | 1.2.2-x86_64 | 1.2.3-x86_64 latest-x86_64
> 1.2.3-arm-v6:= 1.2.2-arm-v6:1.2.3-arm-v6 1.2.2-linux_arm_v6:1.2.3-linux_arm_v6 latest-arm-v6:= latest-x86_64:=
# node-red
  latest 4.1.1 4.1 4.1.1-22 | 4.1.1-20 | 4.1.1-18 latest-18 | 4.1.1-18-minimal | 4.1.1-22-minimal latest-minimal |
  4.0.9 4.0 4.0.9-20 | 4.0.9-18 | 4.0.9-22 | 4.0.9-18-minimal | 4.0.9-22-minimal | 4.0.0-beta.4-18 | 3.1.15 3.1.15-18
> latest:= 4.1.1-18:? 4.0.9-18:? 4.1.1-18-minimal:? 4.0.9:4.1.1 latest-18:?
# flavours and nothing else, of which none is newer
  latest 4.1.1-22 | 4.1.1-20 | 4.0.9-22 | 4.0.9-20
> latest:? 4.0.9-20:? 4.1.1-22:?
# versions of CUDA
  latest v0.5.0-cu124 | v0.5.0-cu118 | v0.4.1-cu124 | v0.4.1-cu118 | v0.4.1-cu121
> v0.4.1-cu118:v0.5.0-cu118 v0.4.1-cu124:v0.5.0-cu124 v0.4.1-cu121:=
# openmmlab/lmdeploy, of whose CUDA the number may be short
  latest latest-cu12 v0.7.2-cu12 | latest-cu11 v0.7.2-cu11 | v0.7.1-cu11 | v0.7.2-cu12.8 | v0.7.2-cu12.4
> v0.7.2-cu11:= v0.7.1-cu11:v0.7.2-cu11 v0.7.2-cu12.4:= latest-cu11:=
# CUDA's in capitals, and cumulative updates in small letters: microsoft/dynamics-nav
  latest 2018 2018-cu3 | 2018-cu1 | 2017-cu13 | 2018-cu10-dk | 2018-cu9-dk | 0.5.1-CU118 | 0.5.1-CU124 | 0.5.0-CU11 |
  0.5.0-CU12
> 2018-cu1:2018-cu3 2017-cu13:2018-cu3 2018-cu9-dk:2018-cu10-dk 0.5.1-CU118:= 0.5.0-CU11:=
# days that begin with the day, or with the month
  latest 01.12.2024 | 15.11.2024 | 30.10.2024 | 01-12-2024 | 30-10-2024-slim
> 01.12.2024:- 15.11.2024:- latest:- 01-12-2024:-
# what only looks like such days
  latest 10.22.1904 | 10.22.1903 | 10.21.2046
> latest:= 10.22.1903:10.22.1904 10.21.2046:10.22.1904
# numbers of systems
  latest 1.1.0 1.1.0-ubuntu-22.04 latest-ubuntu-22.04 | stable-alpine-3.20 1.0.0-alpine-3.20 | 1.1.0-alpine-3.20
> latest-ubuntu-22.04:= stable-alpine-3.20:1.1.0-alpine-3.20
# builds that begin anew
  latest 1.2.4 1.2.4-3 | 1.2.4-2 | 1.2.4-1 | 1.2.3-3 | 1.2.3-2 | 1.2.3-1
> 1.2.3-2:1.2.4-3 1.2.4-2:1.2.4-3
# from a pre-release
  1.0.0 | 1.0.0-rc1 | 0.9.0 | 1.1.0-rc1 | 1.1.0-rc2
> 1.0.0-rc1:1.0.0 1.1.0-rc1:? 0.9.0:1.0.0
# postgis
  latest 17-3.5 | 17-3.5-alpine alpine | 16-3.5 | 16-3.4 | 17-master
> latest:17-3.5 16-3.4:17-3.5
# devcontainers/python
  3.13-bookworm 2-3.13-bookworm 2.0.5-3.13-bookworm | 2-3.11-bookworm 2.0.5-3.11-bookworm | 2.0.5-3.12-bookworm |
  2.0.4-3.13-bookworm | 2.0.4-3.12-bookworm | 2.0.4-3.11-bookworm | 1.3.1-3.12-bookworm
> 2.0.4-3.11-bookworm:? 2.0.4-3.13-bookworm:? 2.0.5-3.11-bookworm:? 3.13-bookworm:=
# ruby-node
  3.2.2-20.11.1 | 3.2.2-18.19.1 | 3.2.1-20.11.0 | 3.2.1-18.19.0
> 3.2.1-18.19.0:? 3.2.2-20.11.1:?
# mssql
  latest 2022-latest 2022-CU15-ubuntu-22.04 | 2019-latest 2019-CU28-ubuntu-20.04 | 2022-CU14-ubuntu-22.04 |
  2017-latest
> latest:2022-latest 2019-latest:2022-latest 2022-CU14-ubuntu-22.04:2022-CU15-ubuntu-22.04
# its previews
  latest 2022-latest 2022-CU20-ubuntu-22.04 | 2025-latest 2025-CTP2.1-ubuntu-24.04 | 2019-latest 2019-CU32-ubuntu-20.04
> latest:= 2019-latest:2022-latest
# nvidia/cuda
  12.6.2-devel-ubuntu22.04 | 12.6.2-runtime-ubuntu22.04 | 12.4.1-devel-ubuntu22.04 | 12.4.1-runtime-ubuntu22.04 |
  12.4.1-cudnn-devel-ubuntu22.04 | 12.6.2-cudnn-devel-ubuntu22.04 | 12.5.0-devel-rockylinux9 |
  12.5.0-runtime-rockylinux9
> 12.4.1-devel-ubuntu22.04:12.6.2-devel-ubuntu22.04 12.4.1-cudnn-devel-ubuntu22.04:12.6.2-cudnn-devel-ubuntu22.04
> 12.6.2-devel-ubuntu22.04:= 12.4.1-runtime-ubuntu22.04:12.6.2-runtime-ubuntu22.04 12.5.0-devel-rockylinux9:=
# chainguard
  latest 3.13 3 3.13.1 | latest-dev 3.13-dev 3-dev 3.13.1-dev | 3.12 3.12.8 | 3.12-dev 3.12.8-dev | 3.13.0 |
  3.13.0-dev | 3.14.0a2 | 3.14.0a2-dev
> latest:= 3.12.8-dev:3.13.1-dev 3.12.8:3.13.1 latest-dev:= 3.12-dev:3.13.1-dev 3.13.1-dev:= 3.14.0a2-dev:?
# a dev that hides under a plain name
  latest 1.2.0 | 1.3.0 1.3.0-dev dev | 1.2.0-dev | 1.1.0-dev | 1.1.0
> latest:= 1.1.0:1.2.0 dev:=
# jruby
  latest 10.1.1 10.1 | 10.0.6 10.0 | 10.0-dev | 9.4-dev | 9.4.9 9.4 | 10.1-dev
> latest:= 10.0-dev:10.1.1 9.4-dev:10.1.1 9.4:10.1.1
# pre-releases that are counted behind a hyphen
  latest 4.0.1 | 4.0.0 | 4.0.0-beta-1 | 4.0.0-alpha-2 | 4.0.1-alpine | 4.0.0-rc-5-alpine | 5.0.0-beta-1 |
  5.0.0-nightly-20250801
> 4.0.0-beta-1:4.0.1 4.0.0-alpha-2:4.0.1 4.0.0-rc-5-alpine:4.0.1-alpine 5.0.0-beta-1:? 5.0.0-nightly-20250801:?
# numbered builds of what was to come
  latest 1.1.0 | 1.1.0-dev1 | 1.1.0.dev20240101 | 1.0.0 | 1.0.0-dev.1
> latest:= 1.1.0-dev1:1.1.0 1.1.0.dev20240101:1.1.0 1.0.0-dev.1:1.1.0
# flavours, and a pre-release that is called as they are
  latest 8.3.1 8.3 | 8.3.1-dev 8.3-dev | 8.2.9 8.2 | 8.2.9-dev 8.2-dev | 8.4-dev
> latest:= 8.2.9-dev:8.3.1-dev 8.2-dev:8.3.1-dev 8.3.1-dev:= 8.3-dev:=
# patches of versions
  latest 2.4.8 | 2.4.7-p3 | 2.4.7 | 2.4.7-p2 | 2.4.6-p9 | 2.4.8-p3.12
> latest:= 2.4.7-p3:2.4.8 2.4.7:2.4.8 2.4.6-p9:2.4.8
# vllm
  latest v0.6.3.post1 | v0.6.3 | v0.6.2 | v0.7.0rc1
> latest:= v0.6.2:v0.6.3.post1 v0.6.3:v0.6.3.post1
# build counters
  latest 1.2.4 sha-1234567 | 1.2.3 | 4711 | 1 | 2 | 3 | main-abcdef1 | pr-101 | 20241001
> latest:1.2.4 1.2.3:1.2.4
# behind
  latest 1.2.0 1.2 | 1.3.0 1.3 1 | 1.1.0 | 1.3.0-rc1
> latest:1.3.0 1.2:1.3.0
# stale line
  1 1.2.0 | 1.5.0 | 1.4.0 | 1.1.0
> 1:1.5.0
# from main
  latest main | 1.2.0 | 1.1.0
> latest:?
# mariadb
  latest 11.5.2 11.5 11 11.5.2-noble noble 11.5-noble | lts 11.4.3 11.4 11.4.3-noble lts-noble | 11.6.1-rc 11.6-rc
  11.6.1-noble-rc | 11.6-rc-noble | 10.11.9 10.11 10 10.11-jammy | 12.0.1-ubi9-rc
> latest:= 10.11:11.5.2
# python
  latest 3.13.0 3.13 3 3.13.0-bookworm bookworm | slim 3.13.0-slim 3.13.0-slim-bookworm slim-bookworm 3-slim |
  3.14.0a1 3.14-rc | 3.14.0a1-slim 3.14-rc-slim | 3.12.7 3.12 | 3.12.7-slim-bookworm 3.12-slim-bookworm
  3.12.7-slim
> latest:= slim:= 3.12-slim-bookworm:3.13.0-slim-bookworm bookworm:=
# php
  latest 8.3.13 8.3 8 8.3.13-cli cli 8.3.13-cli-bookworm | fpm-alpine 8.3.13-fpm-alpine 8.3.13-fpm-alpine3.20
  fpm-alpine3.20 | 8.2.25-fpm-alpine 8.2-fpm-alpine | 8.4.0RC3-fpm-alpine 8.4-rc-fpm-alpine rc-fpm-alpine | fpm
  8.3.13-fpm | 8.4.0RC3 rc
> latest:= fpm-alpine:= 8.2-fpm-alpine:8.3.13-fpm-alpine fpm:8.3.13-fpm
# openjdk
  latest 24-ea-21 24-ea 24-ea-21-jdk-oraclelinux9 | 23 23-jdk 23-oraclelinux9 | 22 22.0.2 22-jdk | 17.0.2 17
> latest:? 17:23
# debian names
  latest bookworm bookworm-20240812 12.6 12 | bookworm-slim bookworm-20240812-slim 12.6-slim |
  bookworm-20240722-slim | trixie-slim testing-slim trixie-20240812-slim | 11.10 11
> latest:= bookworm-slim:= bookworm-20240722-slim:bookworm-20240812-slim bookworm:=
# nightly alias
  latest 1.5.2 | 1.6.0 edge nightly | 1.5.1 | 1.6.0-rc1
> latest:1.5.2
# wildfly
  latest 34.0.0.Final-jdk21 34.0.0.Final-jdk21-x | 33.0.2.Final-jdk21 | 35.0.0.Beta1-jdk21 | 34.0.0.Final-jdk17
> latest:= 33.0.2.Final-jdk21:34.0.0.Final-jdk21
# pypy
  latest 3.11 3.11-7.3.20 3 3-7.3.20 | 3.10 3.10-7.3.19 | 3.11-7.3.19 | 2.7 2.7-7.3.20 2
> latest:= 3.11-7.3.19:3.11-7.3.20
# portainer
  latest lts 2.21.4 | sts 2.24.0 | 2.24.0-alpine | 2.21.4-alpine alpine | 2.20.3
> latest:2.24.0
# rethink
  latest | edge | dev
> latest:-
# uptime-kuma
  latest 1.23.15 1 1.23.15-debian debian | 2.0.0-beta.0 beta 2 | 1.23.14 | nightly2
> latest:=
# varnish
  fresh latest 9.0.3-4 9.0.3 9.0 9 | 8.0.2-1 8.0.2 8.0 8 old | 9.0.3-3
> latest:= 8.0.2-1:9.0.3-4 9.0.3-3:9.0.3-4
# gitea
  latest 1.22.3 1.22 1 | latest-rootless 1.22.3-rootless 1.22-rootless 1-rootless | 1.21.11-rootless | nightly
  1.23-nightly main-nightly | nightly-rootless | 1.23.0-rc0-rootless
> latest:= 1.22-rootless:1.22.3-rootless 1.21.11-rootless:1.22.3-rootless latest-rootless:=
# odoo
  latest 18.0 18 18.0-20241101 | 17.0 17 17.0-20241101 | 16.0 | 17.0-20241001
> latest:= 17.0:18.0 17.0-20241001:18.0-20241101
# selenium
  latest 4.26.0-20241101 4.26.0 4.26 4 130.0 130.0.6723.91 | 4.25.0 4.25 129.0 | 4.25.0-20241024 | 128.0 | nightly
  | beta
> latest:= 4.25.0:4.26.0 4.25.0-20241024:4.26.0-20241101
# qbittorrent
  latest 5.0.1_v2.0.10-ls361 version-5.0.1_v2.0.10 5.0.1 | 5.0.0_v2.0.9-ls355 | libtorrentv1
  libtorrentv1-5.0.1_v1.2.19-ls90 | 4.6.7_v2.0.10-ls350
> latest:= 5.0.0_v2.0.9-ls355:5.0.1_v2.0.10-ls361 libtorrentv1:=
# linuxserver/qbittorrent, whose number was that of the system, and of another program
  latest 5.1.0-r1_v2.0.11-ls392 version-5.1.0-r1_v2.0.11 5.1.0 | 5.0.4_v2.0.11-ls386 5.0.4 | 4.6.7_v2.0.10-ls350 4.6.7 |
  14.3.9 14.3.9.99202110311443-7435-01519b5e7ubuntu20.04.1-ls167 | 14.3.8 | 14.3.4 | 14.2.5 | 20.04.1 | 4.3.9
> latest:= 5.1.0:= 4.6.7:5.1.0 5.0.4:5.1.0
# linuxserver/prowlarr, where the first 0 of a name was lost, and the other name with it
  latest 1.2.2.2699-ls40 version-1.2.2.2699 1.2.2 | 1.1.3.2521-ls38 1.1.3 | 1.8.1259 | 1.2021.01 | 2021.12.16 | 135
> latest:= 1.2.2:= 1.1.3:1.2.2 1.1.3.2521-ls38:1.2.2.2699-ls40
# linuxserver/qbittorrent, copied by somebody whose `latest` is behind
  latest 5.0.4_v2.0.11-ls386 5.0.4 | 5.1.0_v2.0.11-ls392 version-5.1.0_v2.0.11 5.1.0 | 4.6.7_v2.0.10-ls350 4.6.7 |
  14.3.9 14.3.9.99202110311443-7435-01519b5e7ubuntu20.04.1-ls167 | 14.3.8 | 20.04.1
> latest:5.1.0 5.0.4:5.1.0 4.6.7:5.1.0 5.1.0:=
# linuxserver/sonarr, of which somebody copied a part, and `latest` since
  latest | 4.0.9.2-ls322 version-4.0.9.2 | 4.0.10.3-ls323 | 4.0.10.3-ls330 | 14.3.9
> latest:? 4.0.9.2-ls322:4.0.10.3-ls330 4.0.10.3-ls323:4.0.10.3-ls330 4.0.10.3-ls330:=
# linuxserver/wireguard, whose builds were counted anew
  latest 1.0.20210914-ls30 | v1.0.20210914-ls126 | v1.0.20210914-ls99 | 1.0.20210914-ls29 | v1.0.20200827-ls5
> latest:= 1.0.20210914-ls30:= 1.0.20210914-ls29:? v1.0.20200827-ls5:?
# wireguard
  latest 1.0.20210914-r4-ls56 | 1.0.20210914-r3-ls50 | v1.0.20200827-ls5
> latest:= 1.0.20210914-r3-ls50:1.0.20210914-r4-ls56
# gitlab-runner
  latest ubuntu v17.5.3 ubuntu-v17.5.3 | alpine alpine-v17.5.3 | v17.4.0 ubuntu-v17.4.0 | alpine-v17.4.0 |
  bleeding
> latest:= alpine:= alpine-v17.4.0:alpine-v17.5.3
# emby
  latest 4.8.10.0 | beta 4.9.0.31 | 4.9.0.30 | 4.8.9.0
> latest:4.8.10.0
# mysql
  latest 9.4.0 9.4 9 innovation 9.4.0-oraclelinux9 | lts 8.4.6 8.4 8 | 8.0.43 8.0
> latest:= 8.0:9.4.0 lts:9.4.0
# archlinux
  latest base base-20250914.0.423100 | base-devel base-devel-20250914.0.423100 | base-20250907.0.418300 |
  multilib-devel | base-devel-20250907.0.418300
> latest:= base-20250907.0.418300:base-20250914.0.423100 base-devel:= multilib-devel:?
> base-devel-20250907.0.418300:base-devel-20250914.0.423100
# a devel before what is to come
  latest base base-1.2.3 | base-devel base-devel-1.3.0 | base-devel-1.2.3 | base-1.2.2 | base-devel-1.2.2
> latest:= base-1.2.2:base-1.2.3 base-devel-1.2.3:? base-devel:?
# a devel of each release, and others whose numbers are of something else
  latest 8.3.10 | 8.3.9 | 8.3.10-dev | 8.3.9-dev | dev-8.4.0 | node-20.1.1.1
> 8.3.9-dev:8.3.10-dev 8.3.10-dev:= 8.3.9:8.3.10 dev-8.4.0:?
# rockylinux
  9 9.3 9.3.20231119 | 9-minimal 9.3-minimal 9.3.20231119-minimal | 8 8.9 8.9.20231119 | 8.8
> 8:9.3 8.9.20231119:9.3.20231119 9:9.3
# fluentd
  latest v1.16.6-1.0 v1.16-1 | v1.16-debian-1 v1.16.6-debian-1.0 | v1.17.1-1.0 v1.17-1 | v1.17.1-debian-1.0 | edge
  edge-alpine | v1.16.5-1.0
> latest:v1.17.1-1.0
# elixir
  latest 1.18.4 1.18 1.18.4-otp-28 | 1.19.0-rc.0 1.19 | 1.17.3 1.17 | 1.18.4-otp-27
> latest:= 1.17:1.18.4
# flink
  latest 2.1.0 2.1.0-java17 2.1.0-scala_2.12-java17 scala_2.12 | 1.20.2 1.20.2-java17 | 2.1.0-java11
> latest:= 1.20.2:2.1.0
# clojure
  latest tools-deps temurin-25-tools-deps-1.12.2.1565 tools-deps-1.12.2.1565 | lein lein-2.11.2 temurin-25-lein |
  tools-deps-1.11.0 | boot-2.8.3
> latest:=
# influx
  latest 2.7.12 2.7 2 | 3.4.1-core 3-core core | 1.12.2 1.12 | 2.7.12-alpine alpine
> latest:= 1.12:2.7.12
# node
  latest 24.9.0 24 current 24.9 bookworm 24-bookworm | lts 22.20.0 22 jod | 23.11.1 23 | slim 24.9.0-slim 24-slim
  | 25.0.0-nightly2025
> latest:= 23:24.9.0 slim:=
# kong old
  latest 3.9.1 3.9.1-ubuntu 3.9 ubuntu | 3.8.0 | 2023.1.0 | 20210101 | 100.0.0
> latest:= 3.8.0:3.9.1
# old scheme
  latest 1.4.0 | 20.10 | 19.04 | 1.3.0 | 1.2.0
> latest:1.4.0
# months, and then numbers
  latest 5.2.0 5.2 5 | 5.1.9 | 20.10.3 20.10 | 20.04.1 20.04 | 19.10.2 | 4.0.0
> latest:= 5.1.9:5.2.0 19.10.2:20.10.3
# numbers, and then months
  latest 24.04.9 | 23.05.10 | 22.05.1 | 6.4.14
> 6.4.14:24.04.9 latest:= 23.05.10:24.04.9
# numbers, and then months, of a variant
  latest 24.04.9 | 24.04.9-alpine | 23.05.10 | 23.05.10-alpine | 6.4.14 | 6.4.14-alpine
> 6.4.14-alpine:24.04.9-alpine 6.4.14:24.04.9
# docker
  latest 29.0.1 29.0 29 | 20.10.24 20.10 20 | 19.03.15 19.03 19 | 18.09.9 18.09 | 17.03.2 17.03 | 29.1.0-rc.1 29-rc
> 19.03.15:29.0.1 17.03:29.0.1 20.10.24:29.0.1 latest:=
# home-assistant, and then years
  latest 2026.9.1 2026.9 | 2026.8.3 | 2020.12.1 | 0.118.5 | 0.117.6 | dev 2026.10.0.dev1
> 0.117.6:2026.9.1 0.118.5:2026.9.1 latest:=
# neo4j, and then years
  latest 2026.07.1 2026 community | 2026.06.0 | 5.26.29 5.26 5 | 5.26.28 | 4.4.48 | enterprise 2026.07.1-enterprise |
  5.26.29-enterprise 5-enterprise | 5.26.29-ubi10
> 5.26.28:2026.07.1 5:2026.07.1 4.4.48:2026.07.1 5-enterprise:2026.07.1-enterprise 5.26.29-ubi10:= enterprise:=
# bonita, where a year is another name of each
  latest 11.1.0 2026.2 11.1 | 10.4.5 2025.2 | 2024.1.1
> 10.4.5:11.1.0 latest:= 2024.1.1:2026.2
# the same, where the highest is not the latest, and has no year yet
  latest 10.4.5 2025.2 10.4 | 11.1.0 11.1 | 10.3.0 2025.1 10.3
> 10.4.5:11.1.0 10.3.0:11.1.0 11.1.0:=
# teamcity, whose first release of a line has two numbers
  latest 2026.07 2026.07-linux | 2026.03.3 | 2026.03.3-linux | 2026.03 | EAP 2026.11 2026.11-EAP1
> 2026.03.3:2026.07 2026.03.3-linux:2026.07-linux 2026.03:2026.07 latest:=
# postgres, whose numbers became shorter
  latest 18.0 | 17.2 | 9.6.24 | 9.6.23 | 9.6.24-alpine | 19.0
> 9.6.23:18.0 latest:19.0 17.2:19.0 9.6.24-alpine:=
# sonarqube, and what is called as a line of its own may be, which is not the latest
  latest 7.1 | 6.7.5 | 6.7.5-alpine | 7.1-alpine | 8.0 8.0.0-alpha1 | 9.0
> 6.7.5:7.1 6.7.5-alpine:7.1-alpine
# the name of a line that our own image has, too
  latest | 27.3.3 27.3 | 28.0 | 27.3.2
> 27.3.3:28.0 27.3.2:27.3.3
# jenkins, whose weeks are no releases of an older line
  latest 2.492 | lts 2.479.2 | 2.479.1 | 2.491 | 1.651.3
> 2.479.1:2.479.2 lts:= 2.491:2.492 1.651.3:2.479.2
# liferay/dxp
  latest 2026.q3.1 | 2026.q3.0 | 2026.q2.12 | 2025.Q4.10 | 2026.q1.4-lts | 2025.q1.11-lts | 7.4.13-u112 | 7.4.13-u99
> latest:= 2026.q2.12:2026.q3.1 2025.Q4.10:2026.q3.1 2025.q1.11-lts:2026.q1.4-lts 7.4.13-u99:7.4.13-u112
# grafana, of which some mend what is not safe
  latest 12.0.0-security-01 | 12.0.0 | 11.6.1-security-01 | 11.6.1 | 12.0.0-security-01-ubuntu | 12.0.0-ubuntu
> latest:= 12.0.0:12.0.0-security-01 11.6.1-security-01:12.0.0-security-01 12.0.0-ubuntu:12.0.0-security-01-ubuntu
# flavours of Ubuntu
  1.2.3-u22 | 1.2.3-u20 | 1.2.4-u22 | 1.2.4-u20
> 1.2.3-u20:? 1.2.4-u22:?
# gitlab-runner, of systems with a number
  latest alpine3.18-v17.7.0 v17.7.0 | alpine3.18-v17.6.0 | alpine3.19-v17.8.0 | v17.6.0
> alpine3.18-v17.6.0:alpine3.18-v17.7.0 v17.6.0:v17.7.0
# year then semver
  latest 1.5.0 1.5 | 2020.12 | 2019.3.1 | 1.4.0
> latest:= 1.4.0:1.5.0
# hash tags
  latest 0.9.2 1234567 | 7654321 | 89abcde | 0.9.1
> latest:0.9.2 1234567:?
# calver short
  latest 24.11.0 24.11.0-alpine | 24.10.1 | 24.12.0-rc1 edge | 24.12.0 nightly
> latest:= 24.10.1:24.11.0
# k3s
  latest v1.33.4-k3s1 | v1.33.3-k3s1 | v1.32.1-k3s2 | v1.30.2-k3s2 | v1.34.1-rc1-k3s1 | v1.33.4-k3s1-amd64
> latest:= v1.30.2-k3s2:v1.33.4-k3s1 v1.32.1-k3s2:v1.33.4-k3s1
# jitsi
  stable latest stable-10431 | stable-10431-1 | stable-9823 | unstable unstable-2025-09-04 | stable-9457-2 | web-1.0
> latest:= stable-9823:stable-10431 stable-9457-2:stable-10431-1 unstable:?
# systems, and no builds
  latest 1.1 | 1.0 | stable-2204 | stable-2404 | stable-1809 | stable-2004 | stable-2025
> stable-2204:? stable-1809:?
# duplicati
  latest 2.1.0.5 2.1 2.1.0.5_stable_2025-03-04 | canary 2.1.1.101_canary_2025-08-22 2.1.1.101 | 2.1.0.4
  2.1.0.4_stable_2025-01-31
> latest:= 2.1.0.4_stable_2025-01-31:2.1.0.5_stable_2025-03-04
# homebridge
  latest ubuntu 2025-09-05 ubuntu-2025-09-05 | 2025-07-12 ubuntu-2025-07-12 | beta beta-2025-09-10 | dev
> latest:= ubuntu:= 2025-07-12:2025-09-05 ubuntu-2025-07-12:ubuntu-2025-09-05 beta:? dev:?
# days and nothing else
  latest 20250825 | 20250901 | 20250901-slim | 20250825-slim slim | sha-1234567 | main-20250902
> latest:20250901 20250825:20250901 slim:20250901-slim sha-1234567:?
# days of what is not released, too
  stable latest 20250601 | 20250831 | 20250901 nightly | 20250501
> latest:? 20250601:? 20250501:?
# photoprism, whose days are short
  latest 250426 | 250426-jammy latest-jammy | 250321 | 250321-jammy | 20220302 | preview
> latest:= 250321:250426 250321-jammy:250426-jammy 20220302:250426
# short days, of which the last is not released
  latest 250426 | 250321 | preview 250601
> latest:? 250321:?
# counts that look like days, some of them
  latest 110501 | 110512 | 110599
> latest:- 110501:-
# times of builds after a variant
  latest 4.7.0-apache-202409090909 | 3.3.4-apache-202209221209 | 3.3.4-apache-202309221209 |
  4.7.0-nginx-202410090909 | 4.7.0-nginx-alpine-20241009090910
> 3.3.4-apache-202209221209:4.7.0-apache-202409090909 latest:=
# builds that leave gaps
  latest 95100 | 95057 | 95083 | 9999 | 120000
> 95057:95100 95083:95100 latest:=
# a fourth number that mends the third
  latest 1.11.4 1.11 1 | 1.3.10.0 | 1.3.10.1 | 1.3.10 1.3 | 1.5.0.1 1.5.0 1.5 | 1.11.3 | 4711
> 1.3.10.0:1.11.4 1.5.0.1:1.11.4 latest:=
# with a browser that is called edge
  latest 14.4.1 cypress-14.4.1-node-22.16.0-chrome-137.0.7151.68-1-edge-137.0.3296.62-1 | edge-14.5.0 |
  14.4.0 cypress-14.4.0-node-22.15.1-chrome-136.0.7103.113-1-edge-136.0.3240.76-1 | 14.5.0-edge-3 14.5.0 |
  14.6.0-edge-2025.06.01 14.6.0 | 14.7.0-edge-0.1.2 14.7.0
> latest:14.4.1 14.4.0:14.4.1
# an architecture before the version that has a number itself
  x86_64-latest x86_64-v18.0.2 | arm64-v18.0.2 | x86_64-v17.11.2 | ubuntu-x86_64-v18.0.2 | ubuntu-x86_64-v17.11.2
> x86_64-v17.11.2:x86_64-v18.0.2 ubuntu-x86_64-v17.11.2:ubuntu-x86_64-v18.0.2 x86_64-latest:x86_64-v18.0.2
# builds, of which the last version has none
  latest 1.1.14 1.1 | 1.1.12 | 1.1.10 1.1.10-3 | 1.1.10-2 | 1.1.15-rc1 | 1.1.10-3-slim
> 1.1.10-3:1.1.14 1.1.10-2:1.1.14 latest:1.1.14 1.1.10-3-slim:=
# the same, where latest is the last build
  latest 1.1.10-3 | 1.1.10-2 | 1.1.9-1 | 1.1.8-1 | 1.1.10 | 1.1.14
> latest:1.1.14 1.1.10-3:1.1.14
# lines that are called so
  latest v8.1.4 | v8.1.4-alpine latest-alpine | v8.1.3 | v8.1.3-alpine | v8-latest | v7-latest v7.1.17
> latest:v8.1.4 latest-alpine:v8.1.4-alpine v7-latest:v8-latest v8.1.3:v8.1.4
# microarchitectures, and builds after an architecture
  latest 1.2.3 1.2.3-amd64-v1 | 1.2.3-amd64-v2 | 1.2.3-amd64-v3 | 1.2.2-amd64-v2 | 1.2.3-x86_64-v2 | 1.2.3-x86_64-v3 |
  1.2.3-arm64-8 | 1.2.3-arm64-9 | 1.2.3-amd64-r2 | 1.2.3-amd64-r1
> 1.2.3-amd64-v2:= 1.2.2-amd64-v2:1.2.3-amd64-v2 1.2.3-x86_64-v2:= 1.2.3-arm64-8:= 1.2.3-amd64-r1:1.2.3-amd64-r2
# systems after an architecture
  latest 1.2.3 | 1.2.3-amd64-22.04 | 1.2.3-amd64-20.04 | 1.2.2-amd64-22.04 | 1.2.2-amd64-20.04 |
  1.2.3-windows-amd64-10.0.17763.6293 | 1.2.3-windows-amd64-10.0.20348.2700 | 1.2.2-windows-amd64-10.0.17763.6189
> 1.2.3-amd64-20.04:= 1.2.2-amd64-20.04:1.2.3-amd64-20.04 1.2.3-windows-amd64-10.0.17763.6293:=
# fluent/fluentd
  v1.17.1-debian-amd64-1.1 | v1.17.1-debian-amd64-1.0 | v1.16.5-debian-amd64-1.3 | v1.17.1-debian-arm64-1.4 |
  v1.17.1-debian-arm64-1.3 | v1.16-debian-amd64-1
> v1.16.5-debian-amd64-1.3:v1.17.1-debian-amd64-1.1 v1.17.1-debian-amd64-1.0:v1.17.1-debian-amd64-1.1
> v1.17.1-debian-arm64-1.3:v1.17.1-debian-arm64-1.4
# liferay/portal
  latest 7.4.3.132-ga132 | 7.4.3.120-ga120 | 7.4.3.99-ga99 | 7.4.3.120-ga120-d6.0.1
> latest:= 7.4.3.99-ga99:7.4.3.132-ga132
# nvidia/l4t-base
  r36.2.0 | r35.4.1 | r35.4.1-py3 | r9f3a2c1 | r32.7.1 | r2dbc-1.0.1 | r2dbc-1.0.0
> r32.7.1:r36.2.0 r36.2.0:= r9f3a2c1:? r2dbc-1.0.0:r2dbc-1.0.1
# dustynv/jetson-inference, for PCs and for Jetsons
  22.06 | 21.08 | r32.7.1 | r35.4.1 | r36.3.0
> 22.06:= 21.08:22.06 r32.7.1:r36.3.0
# sonarqube, whose builds have six digits by now
  latest community 25.1.0.102122-community | 24.12.0.100206-community | 10.7.0-community | 9.9.8.100196-community
> 10.7.0-community:25.1.0.102122-community 24.12.0.100206-community:25.1.0.102122-community
# linuxserver/ffmpeg, where 8.0 is a release
  latest 8.0-cli-ls45 8.0-cli | 7.1.1-cli-ls20 7.1.1-cli | 7.1-cli-ls14 7.1-cli | 7.0.2-cli-ls12 7.0.2-cli
> latest:= 7.1.1-cli-ls20:8.0-cli-ls45 7.0.2-cli-ls12:8.0-cli-ls45 7.1-cli-ls14:8.0-cli-ls45
# builds of branches
  latest 7.1.1-1a2b3c4 | 7.1.0-2b3c4d5 | 8.0-3c4d5e6
> latest:= 7.1.0-2b3c4d5:7.1.1-1a2b3c4
# n8n, where what is to come has architectures, too, of which no word tells that
  latest 1.114.4 stable | latest-amd64 1.114.4-amd64 | next beta 1.115.0 | 1.115.0-amd64 | 1.114.3-amd64 | 1.113.3-amd64
> 1.113.3-amd64:1.114.4-amd64 1.114.4-amd64:= latest-amd64:=
# a variant of what is to come
  latest 2.0.0 | 2.0.0-alpine | 2.1.0 2.1.0-rc1 | 2.1.0-alpine | 1.9.0-alpine
> 1.9.0-alpine:2.0.0-alpine 2.0.0-alpine:=
# haxe, of which a pre-release of a variant is another image than that under a plain name
  latest 4.3.7 | 4.3.7-alpine | 4.2.5-alpine | 5.0.0 5.0.0-preview.1 | 5.0.0-alpine | 5.0.0-preview.1-alpine
> 4.2.5-alpine:4.3.7-alpine 4.3.7-alpine:=
# ory/hydra, which went over to years
  latest v25.4.0 v25.4 v25 | v2.3.0 v2.3 v2 | v2.2.0 | v1.11.10 | v25.4.0-distroless | v2.3.0-distroless
> v2.3.0:v25.4.0 v2.2.0:v25.4.0 v1.11.10:v25.4.0 v2:v25.4.0 v2.3.0-distroless:v25.4.0-distroless latest:=
# typesense, and which number is a count, as long as `latest` is below it
  latest 29.0 | 28.0 | 26.0 | 0.25.2 | 0.24.1 | 29.0.rc30
> 0.25.2:29.0 0.24.1:29.0 28.0:29.0
# the same with a count
  latest 1.2.3 | 1.2.2 | 100.0.0 | 100.1.0
> 1.2.2:1.2.3 latest:=
# eclipse-temurin, whose first release of a line has one number
  latest 25 25_36-jdk 25-jdk | 25_36-jre 25-jre | 21 21.0.8_9-jdk | 21.0.8_9-jre 21-jre | 17.0.16_8-jre | 8u462-b08-jre
> 21.0.8_9-jdk:25_36-jdk 17.0.16_8-jre:25_36-jre 8u462-b08-jre:25_36-jre latest:=
# eclipse-temurin, whose first release of a line is not the line
  latest 25 25-jdk 25.0.1_8-jdk | 25_36-jdk | 25.0.1_8-jre 25-jre | 25_36-jre | 21.0.9_10-jre 21-jre
> 25_36-jre:25.0.1_8-jre 25_36-jdk:25.0.1_8-jdk 25-jre:= 21-jre:25-jre
# thecodingmachine/php, whose own versions follow those of PHP
  8.3-v4-apache 8.3.10-v4-apache | 8.2-v4-apache | 8.3-v5-apache | 8.2-v5-apache
> 8.3-v5-apache:? 8.3-v4-apache:=
# bitnami, whose builds begin anew
  4.0.1-debian-12-r0 | 4.0-debian-12-r5 | 3.9.1-debian-12-r4
> 4.0-debian-12-r5:4.0.1-debian-12-r0 3.9.1-debian-12-r4:4.0.1-debian-12-r0
# jenkins/inbound-agent, in whose versions a commit stands, and which leap
  latest 3341.v0766d82b_dec0-1 3341.v0766d82b_dec0-1-jdk21 latest-jdk21 | 3327.v868139a_d00e0-8
  3327.v868139a_d00e0-8-jdk21 | 3327.v868139a_d00e0-7 | 3206.vb_15dcf73f6a_9-1 | 3341.v0766d82b_dec0-1-alpine alpine |
  3327.v868139a_d00e0-8-alpine | 4.13.3-1
> 3327.v868139a_d00e0-7:3341.v0766d82b_dec0-1 3206.vb_15dcf73f6a_9-1:3341.v0766d82b_dec0-1 latest:= alpine:=
> 3327.v868139a_d00e0-8-alpine:3341.v0766d82b_dec0-1-alpine 3327.v868139a_d00e0-8-jdk21:3341.v0766d82b_dec0-1-jdk21
> 4.13.3-1:3341.v0766d82b_dec0-1
# llama.cpp
  server server-b6700 | server-b6699 | server-cuda server-cuda-b6700 | server-cuda-b6600 | light-b6701 | full-b99 | full
> server-b6699:server-b6700 server-cuda-b6600:server-cuda-b6700 server:= server-cuda:= full:?
# sonarqube, whose `latest` is of one variant, and of which another has gone over to years
  latest community 26.8.0.100206-community | enterprise 2026.4.1-enterprise 2026.4-enterprise | 10.8.1-enterprise |
  10.8.0-enterprise | 2025.1.8-enterprise 2025.1-enterprise | 10.8.1-community | 9.9.9-enterprise
> 10.8.1-enterprise:2026.4.1-enterprise 9.9.9-enterprise:2026.4.1-enterprise
> enterprise:= 10.8.1-community:26.8.0.100206-community 2025.1-enterprise:2026.4.1-enterprise
# the same, of which the variant has not
  latest 2026.4.1 | enterprise 10.8.1-enterprise | 10.8.0-enterprise | 2025.1.8-enterprise
> 10.8.0-enterprise:10.8.1-enterprise enterprise:=
# ubuntu, of which some days have two builds
  noble noble-20260810 | noble-20260730.1 | noble-20260730 | noble-20240127.1
> noble-20260730.1:noble-20260810 noble-20240127.1:noble-20260810 noble-20260730:noble-20260810
# emqx, of which some versions had builds only
  latest 5.8.8 5.8 | 5.2.0-build.1 | 5.1.5-build.3 | 5.1.5-build.2 | 5.9.0-rc.1
> 5.1.5-build.3:5.8.8 5.2.0-build.1:5.8.8
# the same, whose builds are the last
  latest 5.2.0-build.1 | 5.1.5-build.3 | 6.0.0 | 5.1.0
> 5.1.5-build.3:5.2.0-build.1 latest:=
# searxng, of whose hashes one has no letter
  latest 2025.10.3-abc1234f2 | 2025.10.2-123456789 | 2025.9.30-fedcba987 | 2025.9.1-20250901
> 2025.10.2-123456789:2025.10.3-abc1234f2 2025.9.30-fedcba987:2025.10.3-abc1234f2 2025.9.1-20250901:=
# linuxserver/plex
  latest 1.40.5 1.40.5.8921-836b34c27-ls228 | 1.40.4.8679-424562606-ls227 | 1.40.4.8679-424562606-ls226 1.40.4
> 1.40.4.8679-424562606-ls227:1.40.5.8921-836b34c27-ls228 1.40.4.8679-424562606-ls226:1.40.5.8921-836b34c27-ls228
# times beside hashes
  latest 1.4.0-20251002120000 | 1.4.0-20251001120000 | 1.4.0-abc1234 | 1.3.0-12abc34
> 1.4.0-20251001120000:1.4.0-20251002120000 1.3.0-12abc34:1.4.0-abc1234
# the same after a variant, and days
  31.0.7-fpm-abc1234 | 31.0.6-fpm-1234567 | 30.0.13-fpm-0abcdef | 31.0.7-slim-250802 | 31.0.7-slim-250801
> 31.0.6-fpm-1234567:31.0.7-fpm-abc1234 30.0.13-fpm-0abcdef:31.0.7-fpm-abc1234 31.0.7-slim-250801:31.0.7-slim-250802
# the same, where the last has none
  latest 1.4.1-1234567 | 1.4.0-abc1234 | 1.3.0-12abc34
> 1.3.0-12abc34:1.4.1-1234567 latest:=
# postgres, a variant, whose numbers became shorter
  latest 18.0 18 | 18.0-alpine 18-alpine | 17.2-alpine | 9.6.24-alpine 9.6-alpine | 9.6.23-alpine | 19.0-alpine 19beta1
> 9.6.23-alpine:18.0-alpine 17.2-alpine:18.0-alpine
# tdarr, of which some are mended
  latest 2.17.01 | 2.00.21 | 2.00.20.1 | 2.00.20 | 2.00.18.2
> 2.00.20.1:2.17.01 2.00.18.2:2.17.01
# a leap to `latest`, and one beyond it, to a count
  latest v25.4.0 | v25.3.0 | v2.3.0 | v1.9.0 | v3000.1.0 | v3001.0.0 | v25.4.0-slim | v2.3.0-slim | v9000.1.0-slim
> v2.3.0:v25.4.0 v1.9.0:v25.4.0 v25.3.0:v25.4.0 latest:= v2.3.0-slim:v25.4.0-slim
# selenium, of whose lines the days are those of any release in them
  latest 4.26.1-20241201 4.26.1 4.26-20241201 | 4.26-20241120 | 4.26.0-20241110 | 4.25-20241103 | 4.25.0-20241024
> 4.26-20241120:4.26.1-20241201 4.25.0-20241024:4.26.1-20241201 latest:=
# the same, which has no day of its own
  latest 4.26.0-20241101 4.26.0 | 4.26-20241120 | 4.25.0-20241024
> 4.26-20241120:? 4.25.0-20241024:4.26.0-20241101
# numbers of builds that are as long as no hash, beside hashes
  latest 1.4.1-1700000300 1.4.1-abc12345 | 1.4.1-1700000200 1.4.1-bcd12345 | 1.4.0-1700000100 1.4.0-1f345678
> 1.4.1-1700000200:1.4.1-1700000300 1.4.0-1700000100:1.4.1-1700000300 1.4.0-1f345678:1.4.1-abc12345
# hashes of which some begin with a 0
  latest 2025.9.12-0123456 | 2025.9.11-abcdef0 | 2025.9.10-1234567
> 2025.9.11-abcdef0:2025.9.12-0123456 2025.9.10-1234567:2025.9.12-0123456
# times of builds that are written as the commits of Jenkins' agents are
  latest 1.0.0.v202109021300 | 1.0.0.v202109011300 | 0.9.0.v202001011200
> 1.0.0.v202109011300:1.0.0.v202109021300 0.9.0.v202001011200:1.0.0.v202109021300
# hasura, whose second number is that of another image
  latest v2.48.2 | v2.48.2.cli-migrations-v3 | v2.48.2.cli-migrations-v2 | v2.48.1.cli-migrations-v2 |
  v2.48.1.cli-migrations-v3 | v1.3.3.cli-migrations-v2 | v2.48.2-fpm-v3.5.2 | v2.48.1-fpm-v3.5.1 | v2.48.2-fpm-v3.5.1
> v2.48.2.cli-migrations-v2:= v2.48.1.cli-migrations-v2:v2.48.2.cli-migrations-v2
> v1.3.3.cli-migrations-v2:v2.48.2.cli-migrations-v2 v2.48.2-fpm-v3.5.1:v2.48.2-fpm-v3.5.2
# cimg/base, and Ubuntu's months behind its own
  current 2025.07 2025.07-24.04 current-24.04 | 2025.07-22.04 current-22.04 | 2025.06 | 2025.06-22.04 | 2025.05-24.04
> 2025.06-22.04:2025.07-22.04 2025.05-24.04:2025.07-24.04 current-22.04:= 2025.06:2025.07
# of systems and nothing else, beside Postgres 16.10 of one
  act-latest act-24.04 act-24.04-20250723 | act-24.04-20250501 | act-22.04 act-22.04-20250723 | act-22.04-20240401 |
  ubi9-16.10-2534 | ubi9-17.6-2534 | ubi9-17.5-2529
> act-22.04:? act-22.04-20240401:? act-24.04-20250501:? ubi9-16.10-2534:ubi9-17.6-2534 ubi9-17.6-2534:=
# the same of an image of which one system has no more
  latest 2.1.0-24.04 | 2.0.9-22.04 | 2.0.8-22.04
> 2.0.9-22.04:= 2.0.8-22.04:2.0.9-22.04
# bookstack, whose first release of a month has two numbers
  latest 25.07 | 25.5.3 | 25.02 | 24.12.1 | 0.31.7
> 25.5.3:25.07 24.12.1:25.07 0.31.7:25.07 latest:=
# appsmith, whose first release of a line has two numbers
  latest v1.82 | v1.81 | v1.80.1 | v1.80 | v1.9.60
> v1.80.1:v1.82 v1.9.60:v1.82 v1.81:v1.82 latest:=
# the same, whose last is not the latest
  latest v1.80.1 | v1.82 | v1.81 | v1.80 | v1.9.60
> v1.80.1:= v1.9.60:v1.80.1
# systems that look like versions, each with its last image
  latest 24.0.7 | 24.0.6 | 23.0.6 | 24.0.7-22.04 22.04 | 24.0.7-24.04 24.04 | 24.0.6-24.04
> 24.0.6:24.0.7 23.0.6:24.0.7 24.0.7:= latest:=
# the same, of which one is the latest
  latest 24.0.7 24.0.7-24.04 24.04 | 24.0.6 | 23.0.6 | 24.0.7-22.04 22.04
> 24.0.6:24.0.7 23.0.6:24.0.7 24.0.7:= latest:=
# rancher and flannel, who count their builds behind a word
  v1.7.1-flannel1 | v1.5.1-flannel2 | v1.5.1-flannel1 | v1.12.4-hardened1 | v1.12.1-hardened3 | v1.7.1-flannel1-amd64 |
  v1.5.1-flannel2-amd64 | 0.7.6-nbxyz7-ls160 | 0.7.6-nbxyz6-ls158 | 0.7.5-nbxyz10-ls150
> 0.7.5-nbxyz10-ls150:0.7.6-nbxyz7-ls160 0.7.6-nbxyz6-ls158:0.7.6-nbxyz7-ls160
> v1.5.1-flannel2:v1.7.1-flannel1 v1.5.1-flannel2-amd64:v1.7.1-flannel1-amd64 v1.12.1-hardened3:v1.12.4-hardened1
# keydb, and an architecture with an underscore behind it
  latest x86_64_v6.3.4 | x86_64_v6.3.3 | arm64_v6.3.4 | alpine_x86_64_v6.3.4 | alpine_x86_64_v6.3.3
> x86_64_v6.3.3:x86_64_v6.3.4 alpine_x86_64_v6.3.3:alpine_x86_64_v6.3.4 latest:=
# days beside versions
  latest v1.2.3 | 20250901 | 20250801
> latest:= 20250801:?
"""


def _worlds() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for block in WORLDS.strip().removeprefix("# ").split("\n# "):
        name, *lines = block.splitlines()
        images, expected = (" ".join(line[2:] for line in lines if line[0] == mark) for mark in " >")
        found[name] = (images, expected)
    return found


@each(("images", "expected"), _worlds().values())
def test_the_newest_version_where_people_count_oddly(images: str, expected: str) -> None:
    repository = Repository({tag: line for line in images.split("|") for tag in line.split()})
    for pair in expected.split():
        tag, _, right = pair.partition(":")
        found = repository.newest(tag)
        if right == "=":
            assert found, tag
            assert repository.is_same(found, tag), (tag, found)
        else:
            assert found == {"?": None, "-": ""}.get(right, right), tag


def test_a_candidate_that_is_listed_but_gone_is_none() -> None:
    repository = Repository({"latest": "a", "1.0.0": "a", "1.1.0": "b"})
    assert repository.newest("latest", ["latest", "1.0.0", "1.1.0", "1.2.0"]) == "1.1.0"


def test_what_is_gone_is_no_latest_where_there_is_none() -> None:
    repository = Repository({"5.1.0": "a", "5.2.0": "b", "2020.1": "c"})
    assert repository.newest("5.1.0", ["5.1.0", "5.2.0", "2020.1", "2021.1"]) == "5.2.0"


def test_the_highest_version_is_the_only_one_that_is_looked_at_where_it_is_ours() -> None:
    repository = Repository({"latest": "a", "1.2.0": "a", "1.1.0": "b", "2.0.0-rc1": "c", "edge": "d"})
    assert repository.newest("latest") == "1.2.0"
    assert repository.asked == ["1.2.0"]


@pytest.mark.parametrize(
    ("month", "right"), [((26, 8), "26.04"), ((26, 9), "26.04"), ((26, 10), "26.10"), ((27, 1), "26.10")]
)
def test_a_month_that_is_to_come_is_no_release(month: tuple[int, int], right: str) -> None:
    repository = Repository({"noble": "a", "24.04": "a", "24.10": "b", "25.10": "c", "26.04": "d", "26.10": "e"})
    look = Look(lambda tag: repository.digest(tag) == "a", repository.digest, month=month)
    assert {newest(tag, tuple(repository.images), look) for tag in ("noble", "24.04")} == {right}


def test_of_what_a_version_is_a_variant_is_asked_only_where_a_name_may_tell_that_it_is_a_pre_release() -> None:
    images = {"1.1.0-slim": "a", "1.2.0-slim": "b", "1.2.0": "c", "2.0.0-rc1": "d", "edge-slim": "e"}
    repository = Repository(images)
    assert repository.newest("1.1.0-slim") == "1.2.0-slim"
    assert set(repository.asked) == {"1.2.0-slim", "edge-slim"}
    images["edge"] = "f"
    assert repository.newest("1.1.0-slim") == "1.2.0-slim"
    assert set(repository.asked) == {"1.2.0-slim", "edge-slim", "edge", "1.2.0"}


def test_what_is_highest_at_linuxserver_needs_no_look() -> None:
    repository = Repository({"latest": "a", "4.0.20-ls9": "a", "4.0.20": "a", "4.0.19-ls8": "b"})
    assert repository.newest("4.0.20-ls9") == "4.0.20-ls9"
    assert not repository.asked


def test_builds_that_were_counted_anew_need_three_looks_however_many_there_were() -> None:
    repository = Repository({"latest": "a", "1.0.0-ls2": "a"} | {f"1.0.0-ls{n}": f"{n}" for n in range(20, 200)})
    assert repository.newest("1.0.0-ls2") == "1.0.0-ls2"
    assert len(set(repository.asked)) == 3


def test_a_latest_of_linuxserver_that_moved_is_not_what_runs() -> None:
    images = {"latest": "b", "5.1.0": "b", "5.1.0-ls392": "b", "5.0.4": "a", "5.0.4-ls386": "a", "14.3.9": "c"}
    look = Look(lambda tag: tag == "latest" or images.get(tag) == "a", lambda tag: images.get(tag, ""))
    assert newest("latest", tuple(images), look) == "5.1.0"


def test_what_runs_is_no_month_that_is_to_come() -> None:
    repository = Repository({"29.01": "a", "28.05": "b", "latest": "c", "30.02": "c"})
    look = Look(lambda tag: repository.digest(tag) == "a", repository.digest, month=(26, 8))
    assert newest("29.01", tuple(repository.images), look) == "30.02"


@pytest.mark.parametrize("hint", ["1.90.0", "v1.90.0"])
def test_a_hint_saves_looks_and_decides_nothing(hint: str) -> None:
    images = {"latest": "90"} | {f"1.{minor}.0": str(minor) for minor in range(100)}
    repository = Repository(images)

    def is_ours(tag: str) -> bool:
        return repository.digest(tag) == images["latest"]

    assert newest("latest", tuple(images), Look(is_ours, repository.digest, [hint])) == "1.99.0"
    assert repository.asked == ["1.90.0", "1.99.0"]
    assert newest("latest", tuple(images), Look(is_ours, repository.digest, ["1.50.0"])) == "1.99.0"


def test_looks_are_bounded() -> None:
    images = {"latest": "none"} | {f"{n}.{n % 7}.{n % 5}": str(n) for n in range(3_000)}
    repository = Repository(images)
    assert repository.newest("latest") is None
    assert len(set(repository.asked)) <= 32


def test_months_of_another_count_cost_two_looks_however_many_there_are() -> None:
    images = {"latest": "a", "1.2.4": "a"} | {f"v20.04.{n}": f"{n}" for n in range(3_000)}
    repository = Repository(images | {f"20.10.{n}": f"x{n}" for n in range(3_000)})
    assert repository.newest("1.2.4") == "1.2.4"
    assert set(repository.asked) == {"latest", "20.10.2999"}


# -- in any repository -----------------------------------------------------------------------------------------

numbers = st.lists(st.integers(0, 12), min_size=3, max_size=3).map(tuple)
variants = st.sampled_from(["", "-alpine", "-slim"])
DAYS = ["20240501", "2024-05-01"]
JUNK = [
    *DAYS,
    "sha-1234567",
    "main-abcdef1",
    "pr-12",
    "9f3a2c1",
    "cache",
    "main",
    "4711",
    "feature-x",
]


@st.composite
def repositories(draw: st.DrawFn) -> tuple[dict[str, str], str]:
    """Releases with their lines and `latest`, as a careful maintainer pushes them, and one of the tags."""
    releases = draw(st.lists(numbers, min_size=1, max_size=12, unique=True))
    suffix, images = draw(variants), {}
    for parts in sorted(releases):  # of the names of lines, the last one has them
        for size in (3, 2, 1):
            images[".".join(map(str, parts[:size])) + suffix] = f"image {parts}"
    current = draw(st.sampled_from(releases))
    images["latest" + suffix] = f"image {current}"
    return images, draw(st.sampled_from(sorted(images)))


def _highest(images: dict[str, str]) -> str:
    return max(images.values(), key=lambda image: [int(n) for n in image.strip("image ()").split(",")])


@given(repositories())
@settings(deadline=None)
def test_the_newest_version_is_the_highest_release_whatever_the_tag(drawn: tuple[dict[str, str], str]) -> None:
    images, tag = drawn
    found = Repository(images).newest(tag)
    assert found
    assert images[found] == _highest(images)
    assert found.split("-")[0].count(".") == 2  # and the name that says most


@given(repositories(), st.randoms(use_true_random=False), st.lists(st.sampled_from(JUNK)))
@settings(deadline=None)
def test_neither_order_nor_junk_matters(drawn: tuple[dict[str, str], str], random: object, junk: list[str]) -> None:
    images, tag = drawn
    right = Repository(images).newest(tag)
    tags = [*images, *junk]
    random.shuffle(tags)  # type: ignore[attr-defined]
    assert Repository(images | {name: f"junk {name}" for name in junk}).newest(tag, tags) == right


@given(
    repositories(),
    numbers,
    st.sampled_from(["-rc1", "-beta.2", "-M3", "-alpha", "-preview", "-dev", "rc1"]),
    st.booleans(),
)
@settings(deadline=None)
def test_no_pre_release_matters_also_not_one_under_a_plain_name(
    drawn: tuple[dict[str, str], str],
    parts: tuple[int, ...],
    word: str,
    hides: bool,  # noqa: FBT001 - drawn
) -> None:
    images, tag = drawn
    suffix = tag.partition("-")[2]
    plain = ".".join(map(str, (13, *parts[1:])))  # higher than all
    ending = f"-{suffix}" if suffix else ""
    more = {f"{plain}{word}{ending}": "early"} | ({f"{plain}{ending}": "early"} if hides else {})
    found = Repository(images | more).newest(tag)
    assert found in (Repository(images).newest(tag), None)  # one look more may be one too many to be sure


@given(repositories(), st.sampled_from(["edge", "devel", "rawhide", "unstable", "testing", "nightly", "beta"]))
@settings(deadline=None)
def test_a_release_that_shares_its_image_with_devel_is_none(drawn: tuple[dict[str, str], str], word: str) -> None:
    images, tag = drawn
    ending = "-" + tag.partition("-")[2] if "-" in tag else ""
    more = {f"13.0.0{ending}": "early", f"{word}{ending}": "early"}
    found = Repository(images | more).newest(tag)
    assert found in (Repository(images).newest(tag), None)  # one look more may be one too many to be sure


SUFFIXES = [
    *("", "-alpine", "-slim-bullseye", "-jdk17", "-jdk-21", "-debian-12", "-ubuntu-22.04", "-cuda12.4-cudnn9", "-pg16"),
    *(
        "-amd64",
        "-386",
        "-linux_x86_64",
        "-arm-v6",
        "-arm-v7",
        "-linux_arm64_v8",
        "-windows-1809",
        "-nanoserver-ltsc2022",
    ),
]


@given(repositories(), st.lists(st.sampled_from(SUFFIXES), min_size=2, max_size=4, unique=True))
@settings(deadline=None)
def test_no_other_variant_or_architecture_is_newer(drawn: tuple[dict[str, str], str], suffixes: list[str]) -> None:
    plain, tag = {name.partition("-")[0]: image for name, image in drawn[0].items()}, drawn[1].partition("-")[0]
    right = Repository(plain).newest(tag)
    assert right is not None
    images = {name + suffix: image + suffix for name, image in plain.items() for suffix in suffixes}
    for suffix in suffixes:
        assert Repository(images).newest(tag + suffix) == right + suffix


@given(repositories())
@settings(deadline=None)
def test_aliases_are_the_same_image(drawn: tuple[dict[str, str], str]) -> None:
    images, tag = drawn
    repository = Repository(images)
    look = Look(lambda name: images[name] == images[tag], repository.digest)
    found = aliases(tag, tuple(images), look)
    assert all(images[name] == images[tag] and name != tag for name in found)
    if tag.startswith("latest"):
        assert any(name.partition("-")[0].count(".") == 2 for name in found)


_TAG = st.one_of(
    st.from_regex(r"v?\d{1,4}(\.\d{1,3}){0,3}(-(alpine|rc1|r2|3|slim))?", fullmatch=True),
    st.sampled_from(["latest", "edge", "lts", "stable", *JUNK]),
)


@given(st.dictionaries(_TAG, st.sampled_from("abcde"), min_size=1), st.data())
@settings(deadline=None)
def test_in_no_repository_at_all_a_tag_is_called_older_than_a_lower_alias(
    images: dict[str, str], data: st.DataObject
) -> None:
    tag = data.draw(st.sampled_from(sorted(images)))
    try:
        found = newest(tag, tuple(images), Look(lambda name: images[name] == images[tag], images.__getitem__))
    except UnclearError:
        return
    best = version(found)
    if best is None:
        assert found == "" or (found in DAYS and not any(v.scheme.is_plain for v in map(version, images) if v))
        return
    assert not best.is_early
    mine = [v for v in (version(name) for name in images if images[name] == images[tag]) if v and not v.is_early]
    assert all(v.rank <= best.rank for v in mine if v.scheme == best.scheme) or images[found] == images[tag]


@pytest.mark.parametrize("first", [1, 100])
def test_a_repository_with_ten_thousand_builds_is_judged_at_once(first: int) -> None:
    tags = ("1.2.3", "1.2.4", *(str(first + build) for build in range(10_000)))
    began = time.process_time()
    assert newest("1.2.3", tags, Look(lambda name: name == "1.2.3", str)) == "1.2.4"
    assert time.process_time() - began < _AT_ONCE_SECONDS
