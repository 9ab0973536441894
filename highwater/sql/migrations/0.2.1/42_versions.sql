-- Former versions of windows lie in a schema named for what it is for.
ALTER SCHEMA former RENAME TO archive;
