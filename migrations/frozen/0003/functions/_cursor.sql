-- Where a page of events ends: start of the transaction, time of the event (both microseconds
-- since 1970) and event id. audit._cursor_parts() is the reverse. Inlined like
-- audit.transaction_id().
CREATE OR REPLACE FUNCTION audit._cursor(
    p_started_at timestamptz,
    p_occurred_at timestamptz,
    p_event_id bigint)
    RETURNS text
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN audit._microseconds(p_started_at)::text
    || '/' || audit._microseconds(p_occurred_at)::text
    || '/' || p_event_id::text;

COMMENT ON FUNCTION audit._cursor(timestamptz, timestamptz, bigint) IS
    'Internal: the position of an event, to pass as p_before of the next page.';
REVOKE ALL ON FUNCTION audit._cursor(timestamptz, timestamptz, bigint) FROM PUBLIC;
