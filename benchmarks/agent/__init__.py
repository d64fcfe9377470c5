"""The agent's reward, and its game beside searches."""
