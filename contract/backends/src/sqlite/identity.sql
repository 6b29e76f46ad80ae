-- Schema version 3: a name that the database gives itself. It tells whose tasks those in a folder are, wherever the file
-- is and whatever it is called.
CREATE TABLE store (id TEXT NOT NULL) STRICT;
INSERT INTO store VALUES (lower(hex(randomblob(8))));

