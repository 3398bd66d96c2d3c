-- One value for a recorded transaction: start time and xid, packed into a UUID (RFC 9562,
-- version 8): 60 bits of microseconds since 1970, 62 bits of xid. Nothing is stored for it, it
-- sorts by time, and audit._transaction_key() gives both parts back.
-- The body is parsed once, here, and has no SET clause, so that the planner can inline it.
CREATE OR REPLACE FUNCTION audit.transaction_id(p_started_at timestamptz, p_xid bigint)
    RETURNS uuid
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN (
    overlay(lpad(to_hex(audit._microseconds(p_started_at)), 15, '0') PLACING '8' FROM 13 FOR 0)
    || to_hex(p_xid | (1::bigint << 63))
)::uuid;

COMMENT ON FUNCTION audit.transaction_id(timestamptz, bigint) IS
    'The id of a recorded transaction: its start (microseconds) and xid as a UUID of version 8, '
    'which sorts by time. Source of the layout: RFC 9562, section 5.8.';
REVOKE ALL ON FUNCTION audit.transaction_id(timestamptz, bigint) FROM PUBLIC;
