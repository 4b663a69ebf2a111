-- When the counts are counted again: the longer it takes, the more seldom it is done.
ALTER TABLE counts ADD COLUMN due_at timestamptz NOT NULL DEFAULT '-infinity';
