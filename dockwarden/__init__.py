"""dockwarden watches one Docker Engine, judges what it finds by policies in YAML, and acts where one says so.

Reading order: model, worker, then the stages in the order in which data flows through them: triggers,
inventory, policy, actions, sinks. ``app`` is where concrete classes meet; ``docs/architecture.md`` has the map.
"""

__version__ = "0.1.0"
