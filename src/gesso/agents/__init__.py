"""The model API for agents: tools over MCP, and pages that a language model reads."""
