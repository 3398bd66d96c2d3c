-- A time as microseconds since 1970, exactly. Inlined; the body is parsed once, here.
CREATE OR REPLACE FUNCTION audit._microseconds(p_time timestamptz)
    RETURNS bigint
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN (extract(epoch FROM p_time) * 1000000)::bigint;

COMMENT ON FUNCTION audit._microseconds(timestamptz) IS
    'Internal: a time as microseconds since 1970.';
REVOKE ALL ON FUNCTION audit._microseconds(timestamptz) FROM PUBLIC;
