# dockwarden as a container; deploy/compose runs it, docs/operations.md tells how else.
#
# Any Debian-like base with Python 3.11 or newer and glibc will do. With a folder `wheels` (see `make wheels`) the
# build needs no network.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
# requirements-notify.txt for what notifications need
ARG REQUIREMENTS=requirements.txt
WORKDIR /src
COPY requirements*.txt pyproject.toml LICENSE README.md ./
COPY wheels* wheels/
COPY config config
COPY deploy deploy
COPY dockwarden dockwarden
# pip is the one that comes with Python, and stays outside; from the wheel itself, each call would compile all of it.
RUN python3 -m venv --without-pip /opt/dockwarden \
 && python3 -m zipfile -e "$(python3 -c 'import ensurepip, glob, sysconfig; \
places = sysconfig.get_config_var("WHEEL_PKG_DIR"), ensurepip.__path__[0] + "/_bundled"; \
print(next(wheel for place in places for wheel in glob.glob(f"{place}/pip-*.whl")))')" /tmp/pip \
 && pip() { /opt/dockwarden/bin/python /tmp/pip/pip install --no-cache-dir "$@"; } \
 && if [ -n "$(ls wheels 2>/dev/null)" ]; then \
      pip --no-index --find-links wheels --require-hashes -r "$REQUIREMENTS" \
      && pip --no-index --find-links wheels --no-deps dockwarden; \
    else \
      pip --require-hashes -r "$REQUIREMENTS" && pip --no-deps .; \
    fi

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="dockwarden" \
      org.opencontainers.image.description="Keeps a Docker host clean, honest and safe by policies in YAML" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/dockwarden /opt/dockwarden
# Before VOLUME: a new named volume takes over the owner.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/dockwarden
ENV PATH=/opt/dockwarden/bin:$PATH PYTHONUNBUFFERED=1 DOCKWARDEN_WEB__LISTEN=0.0.0.0:9877
USER 10001:10001
VOLUME /var/lib/dockwarden
EXPOSE 9877
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["dockwarden", "healthcheck"]
ENTRYPOINT ["dockwarden"]
CMD ["run"]
