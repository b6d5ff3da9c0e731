"""The CPU engine without weights: classical image operators, chosen by a rule-based reading of the prompt.

Read `parser.py` (prompt to plan), then `engine.py` (plan to picture). It understands no scenes and invents nothing.
"""

from gesso.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
