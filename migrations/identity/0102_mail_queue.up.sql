-- Security mail on its way: codes never travel on the bus. A row is deleted when its letter is delivered.
CREATE TABLE mail_queue (
    id         uuid        PRIMARY KEY,
    -- {"to","subject","text"}, sealed: it names the address and holds the code
    sealed     bytea       NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at timestamptz NOT NULL,
    due_at     timestamptz NOT NULL
);
CREATE INDEX mail_queue_due_at ON mail_queue (due_at, id);
