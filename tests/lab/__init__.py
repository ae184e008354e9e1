"""The lab: private Docker engines and registries for tests, benches and `make run`.

Everything here starts its own processes in its own namespaces and removes them again; it never talks
to an engine that it did not start (`run` only points dockwarden, capped at audit, to the user's).
`machine` installs what is missing, `engine` and `registry` run the real parts, `images` builds
content in memory, `seed` makes a lived-in host, `run` puts all of it behind `make run`.
"""
