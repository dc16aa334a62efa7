"""The text side: which entities a prompt names, and where their pieces stand in the text encoder's sequence."""

from .entities import Entity, Parsed, Span
from .parse import parse, parse_all
from .tokens import Encoder, PromptTokens, locate

__all__ = ["Encoder", "Entity", "Parsed", "PromptTokens", "Span", "locate", "parse", "parse_all"]
