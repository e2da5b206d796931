-- Which packages a second build gave again.

ALTER TABLE reproduced ADD COLUMN packages TEXT;        -- SHA-256 of their names and hashes; NULL: an older release did not say
