"""The text side: which entities a prompt names, and where their pieces stand in the text encoder's sequence."""

from .entities import Entity, Parsed, Span
from .parse import parse
from .tokens import PromptTokens, locate

__all__ = ["Entity", "Parsed", "PromptTokens", "Span", "locate", "parse"]
