"""Actor and context of a session, for the peers that read them from two settings."""

from __future__ import annotations

import json
from typing import Final

from audit_schema.bench.variant import METADATA, literal

USER_ID: Final = 1234
"""The actor, for peers that know users by a number."""
ADDRESS: Final = "192.0.2.7"
"""The client's address, for peers that record it instead of metadata."""


def context_settings(prefix: str) -> tuple[str, ...]:
    """Return the statement that sets *prefix*.context_id and *prefix*.context_metadata.

    The packages send it in front of each statement with a new id per request; here a session is
    one request.
    """
    metadata = json.dumps({"user_id": USER_ID, **json.loads(METADATA)})
    return (
        f"SELECT set_config('{prefix}.context_id', gen_random_uuid()::text, false), "
        f"set_config('{prefix}.context_metadata', {literal(metadata)}, false)",
    )
