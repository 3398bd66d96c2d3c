-- The reverse of audit._microseconds(). An interval is multiplied as a float: whole seconds and the
-- rest apart are exact.
CREATE OR REPLACE FUNCTION audit._from_microseconds(p_microseconds bigint)
    RETURNS timestamptz
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN timestamptz '1970-01-01 00:00:00+00' + (p_microseconds / 1000000) * interval '1 second'
    + (p_microseconds % 1000000) * interval '1 microsecond';

COMMENT ON FUNCTION audit._from_microseconds(bigint) IS
    'Internal: a time from microseconds since 1970.';
REVOKE ALL ON FUNCTION audit._from_microseconds(bigint) FROM PUBLIC;
