-- The functions that turn columns of a table into JSON because somebody made them a cast to json:
-- as capture calls them, they have no right and cannot write. NULL when there is none.
CREATE OR REPLACE FUNCTION audit._foreign_casts(p_table oid)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_foreign_casts$
    WITH RECURSIVE used (type) AS (
        SELECT a.atttypid FROM pg_attribute AS a
         WHERE a.attrelid = p_table AND a.atttypid >= 16384 AND NOT a.attisdropped
        UNION
        SELECT part.type
          FROM used
          JOIN pg_type AS t ON t.oid = used.type
         CROSS JOIN LATERAL (
               SELECT t.typelem UNION SELECT t.typbasetype
               UNION SELECT a.atttypid FROM pg_attribute AS a
                      WHERE a.attrelid = t.typrelid AND NOT a.attisdropped) AS part (type)
         WHERE part.type >= 16384)
    SELECT string_agg(DISTINCT c.castfunc::regprocedure::text, ', ')
      FROM used
      JOIN pg_cast AS c ON c.castsource = used.type AND c.casttarget = 'json'::regtype
      JOIN pg_proc AS p ON p.oid = c.castfunc
      JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname NOT IN ('c', 'internal')
$_foreign_casts$;

COMMENT ON FUNCTION audit._foreign_casts(oid) IS
    'Internal: functions of casts to json that capture of a table calls; NULL for none.';
REVOKE ALL ON FUNCTION audit._foreign_casts(oid) FROM PUBLIC;
