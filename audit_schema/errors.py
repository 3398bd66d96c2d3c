"""Errors born in Python; what the server refuses arrives as the driver's own error.

Exception
  AuditSchemaError        wrong URL, unreachable server, unknown revision
    AuditContextError     a context that can't be recorded, or nowhere to send it
"""

from __future__ import annotations


class AuditSchemaError(Exception):
    """The message says what was wrong, with the value, and what to do."""


class AuditContextError(AuditSchemaError):
    """A context can't be recorded as given, or can't reach the database from here."""
