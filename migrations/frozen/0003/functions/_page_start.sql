-- Check the limit of a page and say from when on to read: p_from, else the default window.
CREATE OR REPLACE FUNCTION audit._page_start(p_from timestamptz, p_limit integer)
    RETURNS timestamptz
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_page_start$
BEGIN
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'limit must be between 1 and 10000, got %', p_limit
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Read page by page: pass the cursor of the last row as p_before.';
    END IF;
    RETURN COALESCE(p_from, now() - (SELECT default_window FROM audit.setting));
END;
$_page_start$;

COMMENT ON FUNCTION audit._page_start(timestamptz, integer) IS
    'Internal: check the limit of a page; returns where its time window starts.';
REVOKE ALL ON FUNCTION audit._page_start(timestamptz, integer) FROM PUBLIC;
