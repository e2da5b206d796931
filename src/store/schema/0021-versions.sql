-- Which open jobs bring a version in: however many commits of a package wait, a submission looks at none of the others.

CREATE INDEX job_of_version ON job (package, version, turn)
    WHERE state IN ('queued', 'preparing', 'building', 'publishing');
