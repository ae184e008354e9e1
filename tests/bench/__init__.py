"""The measurements behind the figures in the docs: `make bench`.

Each measurement has a module that turns a prepared host into rows. `report` knows rows and the machine, `host`
an engine with a number of images, `daemon` dockwarden as a child process, `plan` what is measured where and in
which order. Nothing here is asserted by a test: figures of a shared machine are read by people.
"""
